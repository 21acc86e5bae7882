"""Prints every alert of a spade-stream feed as a JSON line. Only pyzmq and the standard library; see docs/wire.md.

usage: subscriber.py ENDPOINT [SINCE]
"""

import json
import struct
import sys
import time
import zlib

import zmq

HEADER = struct.Struct("!4sBBHII")
REFUSED, BEAT, SUBSCRIBE, ALERT, ACK, GAP = 3, 9, 20, 21, 22, 23


def checksum(parts):
    lengths_and_parts = (struct.pack("!I", len(part)) + part for part in parts[1:])
    return zlib.crc32(parts[0][:12] + b"".join(lengths_and_parts))


def encode(kind, meta):
    text = json.dumps(meta).encode()
    head = HEADER.pack(b"SPDS", 2, kind, 0, len(text), 0)
    return [head[:12] + struct.pack("!I", checksum([head, text])), text]


def decode(parts):
    magic, version, kind, count, length, crc = HEADER.unpack(parts[0])
    if (magic, version, count, length) != (b"SPDS", 2, len(parts) - 2, len(parts[1])):
        raise ValueError("not a message of wire version 2")
    if checksum(parts) != crc:
        raise ValueError("damaged on its way")
    return kind, json.loads(parts[1]), parts[2:]


def alerts(endpoint, since):
    """For ever: (alert, [mask PNG, snapshot JPEG, with some ends MP4]) of what came after `since`, in order, once."""
    while True:  # a connection
        with zmq.Context.instance().socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.connect(endpoint)
            socket.send_multipart(encode(SUBSCRIBE, {"name": None, "since": since}))
            heard = said = time.monotonic()
            while time.monotonic() - heard < 3:  # silent for so long: connect anew
                if time.monotonic() - said >= 1:
                    said = time.monotonic()
                    socket.send_multipart(encode(BEAT, {}))
                if not socket.poll(500):
                    continue
                heard = time.monotonic()
                kind, meta, pictures = decode(socket.recv_multipart())
                if kind == ALERT and meta["seq"] > since:
                    yield meta, pictures
                    since = meta["seq"]
                    socket.send_multipart(encode(ACK, {"seq": since}))
                elif kind == GAP and meta["last"] > since:
                    print(f"alerts {meta['first']} to {meta['last']} are gone", file=sys.stderr)
                    since = meta["last"]
                elif kind == REFUSED and meta["again"]:
                    break
                elif kind == REFUSED:
                    raise SystemExit(meta["reason"])


if __name__ == "__main__":
    for alert, _pictures in alerts(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0):
        print(json.dumps(alert), flush=True)
