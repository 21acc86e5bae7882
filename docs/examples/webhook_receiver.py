"""Receives the alerts of a webhook sink: checks the signature, leaves out what came before, prints what is new.

    HOOK_SECRET=... python webhook_receiver.py 8000

Needs nothing but the standard library. Listens on loopback: put a server with TLS in front of it.
"""

import hashlib
import hmac
import http.server
import json
import os
import sys
import time

FRESH_S = 300  # older messages may have been caught on the way
MOST_BYTES = 64 << 20  # of a message: a clip has 16 MiB at most


def is_ours(secret: bytes, body: bytes, header: str, now: float) -> bool:
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    stamp = parts.get("t", "")
    if not (stamp.isascii() and stamp.isdigit()) or abs(now - int(stamp)) > FRESH_S:
        return False
    wanted = hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted.encode(), parts.get("v1", "").encode())


seen: "set[str]" = set()  # keep them in a database, if each must count once over a restart


class Receiver(http.server.BaseHTTPRequestHandler):
    secret = b""

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if length > MOST_BYTES:
            self.answer(413)
            return
        body = self.rfile.read(length)
        if not is_ours(self.secret, body, self.headers.get("X-Spade-Signature", ""), time.time()):
            self.answer(403)
            return
        key = self.headers["Idempotency-Key"]
        if key not in seen:
            alert = json.loads(body)
            print(alert["started_at"], alert["camera"], alert["phase"], flush=True)
            seen.add(key)
        self.answer(204)  # only now: without a 2xx it comes again

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The address may hold a token: not logged."""


if __name__ == "__main__":
    Receiver.secret = os.environ["HOOK_SECRET"].encode()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    print("listening on port", server.server_port, flush=True)
    server.serve_forever()
