"""All that a subscriber needs: prints every alert after SINCE, until the feed is silent. The format: docs/wire.md.

usage: tiny_subscriber.py ENDPOINT [SINCE]
"""

import json
import struct
import sys
import zlib

import zmq

SUBSCRIBE, ALERT, ACK, BEAT = 20, 21, 22, 9
socket = zmq.Context().socket(zmq.DEALER)
socket.connect(sys.argv[1])
since = int(sys.argv[2]) if len(sys.argv) > 2 else 0


def checksum(head, parts):
    return zlib.crc32(head[:12] + b"".join(struct.pack("!I", len(part)) + part for part in parts))


def send(kind, **meta):
    body = json.dumps(meta).encode()
    head = struct.pack("!4sBBHI", b"SPDS", 2, kind, 0, len(body))
    socket.send_multipart([head + struct.pack("!I", checksum(head, [body])), body])


send(SUBSCRIBE, name=None, since=since)
while socket.poll(3000):
    head, *parts = socket.recv_multipart()
    magic, version, kind, count, length, crc = struct.unpack("!4sBBHII", head)
    assert (magic, version, crc) == (b"SPDS", 2, checksum(head, parts)), "not wire version 2, or damaged"
    meta = json.loads(parts[0])  # parts[1:] are pictures: mask PNG, snapshot JPEG, clip MP4
    if kind == ALERT:
        print(json.dumps(meta), flush=True)
        send(ACK, seq=meta["seq"])
    send(BEAT)
sys.exit("nothing heard for 3 s")
