"""Turns what a user says of cameras into the text of a configuration and of a file of secrets. For ``init_command``.

Passwords never stand in the configuration: they become variables, whose values go into a file of their own. What cannot
be told apart from a password with certainty is treated as one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from stream.errors import UsageError
from stream.redact import redact_url
from stream.sources import LOOP, is_live, is_looped, local_path

CAMERA_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""What a camera may be called; the same rule as ``cameras[].id`` of the configuration."""

SYNTHETIC = "campus:?seed=7&walk_seed=2&events=random&every=60"
"""A camera that does not exist: about once a minute something odd happens in front of it."""

SYNTHETIC_NORMAL = "campus:?seed=7&walk_seed=1"
"""The same place without anything odd, to enroll it from."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://)(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_HARMLESS = re.compile(
    r"audio|bitrate|camera(id)?|ch|channel(id)?|codec|compression|fps|framerate|height|id|imgprt|mode|mp4|onvif|profiles?"
    r"|proto|protocol|quality|resolution|rotation|size|src|stream(id|type)?|subtype|track|transport(mode)?|type|unicast"
    r"|video(codec|stream)?|width",
    re.IGNORECASE,
)
"""Names of parameters in addresses of cameras whose values are no secrets. The value of any other may be one."""

_KEPT = re.compile(r"(%[0-9A-Fa-f]{2})")  # an escape that is one already


@dataclass(frozen=True, slots=True)
class NewCamera:
    """One camera of the configuration that is being made."""

    id: str  # see CAMERA_ID
    source: str  # as it stands in the configuration: without secrets, local paths absolute
    fps: float = 5.0  # frames scored per second
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # variable in ``source`` -> value


def new_camera(camera_id: str, source: str, *, fps: float = 5.0, here: Path, taken: Sequence[str] = ()) -> NewCamera:
    """A camera from what the user typed.

    Args:
        camera_id: its name.
        source: address, file, ...; may hold a password.
        fps: frames scored per second.
        here: what a relative path is relative to.
        taken: ids that are used already.

    Raises:
        UsageError: the id cannot be used. The message never holds the source.
    """
    if not CAMERA_ID.fullmatch(camera_id):
        raise UsageError(f"{redact_url(camera_id)!r} is no id: 1 to 64 of letters, digits, '_', '.', '-'")
    if camera_id in taken:
        raise UsageError(f"{camera_id!r} is used twice: give every camera an id of its own")
    if not source.isprintable():  # a new line would begin another variable in the file of secrets
        raise UsageError(f"{camera_id}: its address holds characters that cannot be shown; type it again")
    prefix = f"CAMERA_{re.sub(r'[^A-Z0-9]', '_', camera_id.upper())}"
    if any(prefix == f"CAMERA_{re.sub(r'[^A-Z0-9]', '_', other.upper())}" for other in taken):
        prefix = f"{prefix}_{len(taken) + 1}"  # north-gate beside north.gate: each has a password of its own
    plain, secrets = part_secrets(source, prefix)
    return NewCamera(camera_id, plain if secrets else _absolute(plain, here), fps, secrets)


def part_secrets(source: str, prefix: str) -> tuple[str, dict[str, str]]:
    """``source`` with variables where secrets stood, and the values of these.

    Args:
        source: as typed. Variables that the user wrote stay.
        prefix: of the names of variables.

    Returns:
        ``rtsp://viewer:${PREFIX_PASSWORD}@host`` for a password before the host. An address with a secret elsewhere,
        or with a parameter that is not known to be harmless, becomes one variable as a whole, ``${PREFIX_URL}``.
    """
    shown = _VARIABLE.sub("x", source)
    url, odd = _URL.match(source), _has_unknown_value(source)
    if redact_url(shown) == shown and not odd:
        return source, {}
    if url is not None and not odd:
        credentials, at, address = url[2].rpartition("@")
        user, colon, password = credentials.partition(":")
        plain = f"{url[1]}{address}"
        if at and colon and redact_url(plain) == plain and not re.search(r"[/?#]", user):
            if _VARIABLE.fullmatch(password):
                return source, {}
            name = f"{prefix}_PASSWORD"
            return f"{url[1]}{user}:${{{name}}}@{address}", {name: escaped(password)}
    return f"${{{prefix}_URL}}", {f"{prefix}_URL": source}


def _has_unknown_value(source: str) -> bool:
    """Whether a network address has a parameter that may hold a secret, as far as its name says."""
    _, asked, query = source.rpartition("@")[2].partition("?")  # a password before the host may hold a "?"
    if not asked or _URL.match(source) is None:
        return False
    parts = [part.partition("=") for part in re.split("[&;#]", query)]
    return any(
        not _VARIABLE.fullmatch(value or name) and not _HARMLESS.fullmatch(name) for name, _, value in parts if name
    )


def escaped(secret: str) -> str:
    """A user name or password as it may stand in an address; escapes that are there already stay."""
    parts = _KEPT.split(secret)
    quoted = [part if number % 2 else quote(part, safe="") for number, part in enumerate(parts)]
    return "".join(quoted).replace("~", "%7E")  # a shell would take it for a home folder


def secrets_text(cameras: Sequence[NewCamera]) -> str:
    """The file of secrets: NAME=value lines, for shells (``set -a; . FILE``) and systemd's ``EnvironmentFile``."""
    lines = ["# Passwords of the cameras. Keep this file private (chmod 600), and out of version control."]
    lines += [f"{name}={_shell_word(value)}" for camera in cameras for name, value in camera.secrets.items()]
    return "\n".join(lines) + "\n"


def _shell_word(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9._%-]*", value):
        return value
    # Neither a shell nor systemd changes anything between single quotes, and an address can do without these two.
    return "'" + value.replace("'", "%27").replace("\\", "%5C") + "'"


def config_text(cameras: Sequence[NewCamera], *, name: str, secrets_name: str) -> str:
    """A commented configuration.

    Args:
        cameras: at least one.
        name: of the file, for the commands in its comments.
        secrets_name: of the file of secrets, named where a camera has any.
    """
    secret = any(camera.secrets for camera in cameras)
    head = _HEAD.format(name=name, load=f"#   set -a; . ./{secrets_name}; set +a\n" if secret else "")
    return head + "".join(_camera_text(camera) for camera in cameras) + _TAIL


def _camera_text(camera: NewCamera) -> str:
    # A JSON string is a YAML string, whatever characters are in it.
    lines = [f"  - id: {json.dumps(camera.id)}", f"    source: {json.dumps(camera.source, ensure_ascii=False)}"]
    lines.append(f"    fps: {camera.fps!r}".ljust(37) + "# frames scored per second; a quiet place needs less")
    return "\n".join(lines) + "\n"


def next_commands(cameras: Sequence[NewCamera], *, name: str, secrets_name: str) -> list[str]:
    """What to type next, line by line."""
    lines = []
    if any(camera.secrets for camera in cameras):
        lines.append(f"set -a; . {_quoted(secrets_name)}; set +a")
    lines.append(f"spade-stream check {_quoted(name)}")
    for camera in cameras:
        lines.append(f"spade-stream enroll {_quoted(name)} --camera {camera.id}{_footage(camera)}")
    return [*lines, f"spade-stream run {_quoted(name)}"]


def _footage(camera: NewCamera) -> str:
    if camera.source == SYNTHETIC:
        return f" --source '{SYNTHETIC_NORMAL}' --seconds 120"
    source = camera.source
    rendered = source.startswith("campus:") and "duration=" not in source
    endless = is_live(_VARIABLE.sub("x", source)) or source.startswith("${") or rendered or is_looped(source)
    return " --minutes 30" if endless else ""


def _quoted(path: str) -> str:
    word = path if "/" in path or not path.endswith(".env") else f"./{path}"  # sh looks for a bare name in PATH
    return word if re.fullmatch(r"[\w./+-]+", word) else "'" + word.replace("'", "'\\''") + "'"


def _absolute(source: str, here: Path) -> str:
    # Relative paths of a configuration are relative to it, and what is typed is relative to where one stands.
    loop = LOOP if is_looped(source) else ""
    path = local_path(source.removeprefix(loop))
    return source if path is None or "${" in source else loop + os.path.normpath(here / path)


_HEAD = """\
# Made by 'spade-stream init'. Every key there is, with types and bounds: docs/configuration.md. What is not here has
# its default. Relative paths are relative to this file.
#
{load}#   spade-stream check {name}        is it right?
#   spade-stream enroll {name} --camera ID --minutes 30
#                                        watch a place while it is normal; each scene once
#   spade-stream run {name}          readers, worker, feed, sinks and console, until Ctrl-C

state: state                         # alerts, pictures, scores of every frame; on a local disk

cameras:                             # ${{NAME}} in a source comes from the environment, so that no password stands here
"""

_TAIL = """\

gallery:
  folder: galleries                  # what each scene looks like when it is normal; one folder per scene
  false_alarms_per_day: 1.0          # per camera: smaller means fewer false alerts, and less found; then enroll again

alerts:
  min_duration: 0.6                  # seconds above the threshold before an alert starts
  max_alerts_per_hour: 60            # per camera

retention:                           # what is given up again, the oldest first
  days: 30.0                         # of an alert
  gigabytes: 20.0                    # pictures and clips of all alerts together

sinks:                               # where alerts go, beside whoever subscribes; docs/configuration.md has all kinds
  - type: stdout                     # one readable line per message
  - type: jsonl
    folder: alerts                   # alerts.jsonl and pictures/
    days: 30.0                       # then pictures and clips go; the lines stay
"""
