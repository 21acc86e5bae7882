#!/usr/bin/env python3
"""Makes the secrets of compose.yaml in deploy/secrets: random, a file each, for the one user that reads it.

usage: sudo deploy/make_secrets.py [FOLDER]

Existing files stay as they are. Needs nothing but Python 3.8.
"""

import base64
import hashlib
import os
import secrets
import sys
from pathlib import Path

SPADE, MOSQUITTO, PROMETHEUS, GRAFANA = 10001, 1883, 65534, 472  # users in the images
ITERATIONS = 101  # as mosquitto_passwd has it; these passwords are random and long: guessing needs no slowing down


def mosquitto_line(user: str, password: str) -> str:
    """A line of mosquitto's password file (PBKDF2, SHA-512)."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS, 64)
    return f"{user}:$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


def put(file: Path, text: str, owner: int) -> None:
    """Writes a secret that its owner alone may read, unless the file is there."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    except FileExistsError:
        print(f"{file}: is there already, stays as it is")
        return
    with open(handle, "w", encoding="ascii") as opened:
        opened.write(text)
    if os.geteuid() == 0:
        os.chown(file, owner, owner)
    print(f"{file}: made, for user {owner}")


def text_of(file: Path) -> str:
    """A secret that is there, or a new one."""
    return file.read_text(encoding="ascii").strip() if file.exists() else secrets.token_urlsafe(32)


def main() -> None:
    """Makes what is missing."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "secrets"
    folder.mkdir(mode=0o711, exist_ok=True)  # containers look into it by name; nobody lists it
    metrics, mqtt, reader = (text_of(folder / name) for name in ("metrics_token", "mqtt_password", "mqtt_reader"))
    put(folder / "cameras.env", "# NAME=value, for ${NAME} in a camera's source\n", SPADE)
    put(folder / "metrics_token", f"{metrics}\n", SPADE)
    put(folder / "prometheus_token", f"{metrics}\n", PROMETHEUS)
    put(folder / "mqtt_password", f"{mqtt}\n", SPADE)
    put(folder / "mqtt_reader", f"{reader}\n", os.geteuid())
    put(folder / "mqtt_users", mosquitto_line("spade-stream", mqtt) + mosquitto_line("reader", reader), MOSQUITTO)
    put(folder / "grafana_password", f"{secrets.token_urlsafe(24)}\n", GRAFANA)
    if os.geteuid() != 0:
        print("not run as root: give each file to the user named, or its container cannot read it", file=sys.stderr)


if __name__ == "__main__":
    main()
