"""Fuzzing of the decoder: real messages, damaged in every way that is known to hurt decoders, for as long as one likes.

``python tests/fuzz_wire.py --seconds 60 --seed 1`` (or ``make fuzz SECONDS=60``) prints how many messages were decoded
and why those that were refused were refused. Nothing but a WireError may come out, and no message may take more memory
than its length allows. The first that does ends the run with exit code 1 and a reproducer.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import struct
import sys
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from stream.cluster.directory import read_cameras
from stream.cluster.directory_client import read_answer
from stream.cluster.model import OutboxPlace, OutboxState, Place
from stream.errors import WireError
from stream.messages import Alert, Evidence, FramePacket, Neighbour, Phase, Region
from stream.pictures import decode_jpeg
from stream.wire import Kind, decode, decode_alert, decode_drops, decode_frame, encode, encode_alert, encode_frame

Parts = list[bytes]
Mutation = Callable[[random.Random, Parts], Parts]

SHOWN = 40
"""Reasons that are listed; there are hundreds, most of them the same check of another field."""

MEMORY_EVERY = 50
"""Messages between two whose memory is measured: measuring makes decoding ten times slower."""

MEMORY_FACTOR, MEMORY_EXTRA = 64, 1 << 20
"""A message of n bytes may take 64 n bytes (a JSON list of "[]," does 22 n) and a megabyte more."""

TOKENS = (
    *(b"null", b"true", b"-1", b"0", b"0.5", b"1e999", b"NaN", b"-Infinity", b"16385", b"9223372036854775808"),
    *(b'""', b'"\\ud800"', b'"\\u0000"', b'"' + b"x" * 5000 + b'"', b"1" * 400, b"\xff", b","),
    *(b"[]", b"{}", b"[[[[1]]]]", b"[1,2,3,4,5]", b"[16384,16384]", b"[2048,2048,3]", b"[1e3,1e3]", b'{"a":{}}'),
)
"""Put in place of a token of the JSON."""

ODD = (
    *(None, True, -1, 0, 2**63, 10**30, 0.5, 1e308, "", "x" * 5000, "\ud800", "9999-12-31T23:59:59-23:59"),
    *([], {}, [[]], {"a": [1]}, [0, 0, 0], [-1, 4], [1 << 20, 1 << 20, 3], [{}], [{"bbox": [1, 2, 3, 4]}]),
)
"""Put in place of a field's value."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|[][{},:]')


class Crash(Exception):
    """A message got out of the decoder what must not come out; the text is the reproducer."""


@dataclass(slots=True)
class Report:
    """What became of the messages."""

    messages: int = 0
    accepted: Counter[str] = field(default_factory=Counter)  # by kind
    refused: Counter[str] = field(default_factory=Counter)  # by the reason, without its values
    peak: int = 0  # bytes, the most that a measured message took
    longest: int = 0  # bytes, the longest message

    def __str__(self) -> str:
        refused = sum(self.refused.values())
        lines = [
            f"{self.messages} messages decoded: {sum(self.accepted.values())} accepted, {refused} refused, 0 crashes; "
            f"longest {self.longest} bytes, most memory {self.peak} bytes"
        ]
        lines += [f"  {count:9d} accepted: {kind}" for kind, count in self.accepted.most_common()]
        shown = self.refused.most_common(SHOWN)
        lines += [f"  {count:9d} refused: {reason}" for reason, count in shown]
        if rest := len(self.refused) - len(shown):
            lines.append(f"  {refused - sum(count for _, count in shown):9d} refused: {rest} other reasons")
        return "\n".join(lines)


def corpus() -> list[Parts]:
    """A real message of every kind, and of the two large ones several."""
    done, view = cv2.imencode(".jpg", np.arange(36 * 64 * 3, dtype=np.uint8).reshape(36, 64, 3))
    assert done
    frame = FramePacket(
        camera="gate", seq=41, frame_time=1.7e9, media_time=4.2, captured_mono=99.5, segment="clip-3",
        source_size=(64, 36), image=np.zeros((8, 8, 3), np.uint8), motion=np.ones((4, 4), np.float16),
        view=view.tobytes(), drops={"reader.overwritten": 3},
    )  # fmt: skip
    regions = tuple(Region((n, 2, 3, 4), ((n, 2), (n + 3, 2), (n + 3, 6)), 9, 3.5) for n in range(4))
    alert = Alert(
        seq=7, alert_id="gate-1", phase=Phase.END, camera="gate", scene="yard", started_at=1.7e9, frame_time=1.7e9 + 1,
        frame_seq=42, score=3.5, threshold=1.25, regions=regions, neighbours=(Neighbour(5, 0.5, "day1", 12.0),),
        ended_at=1.7e9 + 2, mask="m.png", snapshot="s.jpg",
    )  # fmt: skip
    small = {
        Kind.HELLO: {"camera": "gate", "mode": "live"},
        Kind.WELCOME: {"worker": "0123456789abcdef"},
        Kind.REFUSED: {"reason": "no", "retry": True, "again": False},
        Kind.CREDIT: {"scored": 41},
        Kind.STATE: {"camera": "gate", "state": "STALLED", "reason": "no frame for 5 s", "at_time": 1.7e9},
        Kind.END: {"camera": "gate", "error": "", "drops": {"reader.stopped": 1}},
        Kind.DONE: {"scored": None},
        Kind.BEAT: {"camera": "gate"},
        Kind.SUBSCRIBE: {"name": "console", "since": None},
        Kind.ACK: {"seq": 7},
        Kind.GAP: {"first": 1, "last": 3},
        Kind.STATUS: {"written": 1.7e9, "cameras": {"gate": {"state": "LIVE"}}},
        Kind.CAUGHT_UP: {"seq": 7},
        Kind.WHERE: {"places": [Place("gate", 3, "hall-1:0", "tcp://10.0.0.7:8500", "k" * 40).to_json()]},
        Kind.OUTBOXES: {
            "generation": 3,
            "outboxes": [OutboxPlace("a", "hall-1", OutboxState.LIVE, 1.7e9, 41).to_json()],
        },
    }
    large = [
        encode_frame(frame),
        encode_alert(alert, Evidence(b"png", b"jpeg")),
        encode_alert(alert, Evidence(b"", b"", b"mp4")),
        encode(Kind.WHERE, {"cameras": ["gate"]}),
        encode(Kind.CLUSTER, {}, [b'{"name":"campus","cameras":{"gate":{"state":"LIVE"}}}']),
    ]
    return [
        [bytes(part) for part in parts] for parts in (*(encode(k, m) for k, m in small.items()), *large, *large, *large)
    ]


# -- mutations --------------------------------------------------------------------------------------------------------


def flip(rng: random.Random, parts: Parts) -> Parts:
    """Some bits change."""
    at = rng.randrange(len(parts))
    data = bytearray(parts[at] or b"\0")
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return [*parts[:at], bytes(data), *parts[at + 1 :]]


def cut(rng: random.Random, parts: Parts) -> Parts:
    """A part ends early, or goes on."""
    at = rng.randrange(len(parts))
    end = rng.randrange(len(parts[at]) + 1)
    data = parts[at][:end] if rng.random() < 0.7 else parts[at] + rng.randbytes(rng.randrange(40))
    return [*parts[:at], data, *parts[at + 1 :]]


def reorder(rng: random.Random, parts: Parts) -> Parts:
    """Parts are missing, come twice or in another order."""
    return rng.choices(parts, k=rng.randrange(8)) if rng.random() < 0.5 else rng.sample(parts, len(parts))


def splice(rng: random.Random, parts: Parts) -> Parts:
    """The head of one part, the tail of another."""
    one, two = rng.choice(parts), rng.choice(parts)
    data = one[: rng.randrange(len(one) + 1)] + two[rng.randrange(len(two) + 1) :]
    at = rng.randrange(len(parts))
    return [*parts[:at], data, *parts[at + 1 :]]


def header(rng: random.Random, parts: Parts) -> Parts:
    """A field of the header says something else."""
    if len(parts[0]) != 16:
        return parts
    values = list(struct.unpack("!4sBBHII", parts[0]))
    at, bits = rng.choice(((1, 8), (2, 8), (3, 16), (4, 32), (5, 32)))
    values[at] = rng.choice((0, 1, (1 << bits) - 1, 1 << (bits - 1), rng.getrandbits(bits), values[at] ^ 1))
    return [struct.pack("!4sBBHII", *values), *parts[1:]]


def token(rng: random.Random, parts: Parts) -> Parts:
    """Another value, bracket or key in the JSON, which is the first part here."""
    text, *payloads = parts
    if not (found := list(_TOKEN.finditer(text))):
        return parts
    match = rng.choice(found)
    fresh = rng.choice((*TOKENS, rng.choice(found).group(), b""))
    return [text[: match.start()] + fresh + text[match.end() :], *payloads]


def field_value(rng: random.Random, parts: Parts) -> Parts:
    """A field goes, or gets another one's value, or one that is odd."""
    try:
        meta = json.loads(parts[0])
        name = rng.choice(sorted(meta))
        value = rng.choice((*ODD, rng.choice(list(meta.values()))))
    except (ValueError, IndexError, TypeError, AttributeError, RecursionError):
        return parts
    fresh = {**meta, name: value}
    if rng.random() < 0.1:
        del fresh[name]
    return [json.dumps(fresh).encode(), *parts[1:]]


def repeat(rng: random.Random, parts: Parts) -> Parts:
    """A piece of the JSON many times over: long lists, deep nesting, many keys."""
    text, *payloads = parts
    begin = rng.randrange(len(text) + 1)
    own = text[begin : begin + rng.randrange(1, 12)]
    piece = rng.choice((own, own, b"[", b'{"a":', b"[],", b"1,"))
    return [text[:begin] + piece * rng.choice((2, 10, 1000, 5000)) + text[begin:], *payloads]


SHALLOW: Sequence[Mutation] = (flip, cut, reorder, splice, header)
"""For whole messages."""

DEEP: Sequence[Mutation] = (flip, cut, reorder, splice, token, token, field_value, field_value, field_value, repeat)
"""For meta and payloads, which then get a header that fits."""


def repaired(kind: int, parts: Parts) -> Parts:
    """The message with a header that fits it, so that what is wrong with it is found by a later check, or by none."""
    head = struct.pack("!4sBBHI", b"SPDS", 2, kind, len(parts) - 2, len(parts[1]))
    checked = b"".join([head, *(struct.pack("!I", len(part)) + part for part in parts[1:])])
    return [head + struct.pack("!I", zlib.crc32(checked)), *parts[1:]]


def mutated(rng: random.Random, seeds: Sequence[Parts]) -> Parts:
    """A damaged message; three of four get past the checksum."""
    seed = rng.choice(seeds)
    deep = rng.random() < 0.75
    parts = seed[1:] if deep else seed
    for _ in range(rng.choice((1, 1, 2, 4))):
        parts = rng.choice(DEEP if deep else SHALLOW)(rng, parts) or [b""]
    return repaired(seed[0][5], [b"", *parts]) if deep else parts


# -- what is tried ----------------------------------------------------------------------------------------------------


def read(parts: Parts) -> str:
    """Decodes as far as the receivers do; returns the kind. Raises WireError where that refuses."""
    envelope = decode(parts)
    match envelope.kind:
        case Kind.FRAME:
            packet = decode_frame(envelope)
            try:
                decode_jpeg(packet.view, size=packet.source_size)
            except ValueError as error:
                raise WireError(f"view: {error}") from None
        case Kind.ALERT:
            alert, _ = decode_alert(envelope)
            json.dumps(alert.to_json(), allow_nan=False).encode()  # a sink can write down whatever came through
        case Kind.END:
            try:
                decode_drops(envelope.meta.get("drops"))
            except ValueError as error:
                raise WireError(str(error)) from None
        case Kind.WHERE if "cameras" in envelope.meta:
            read_cameras(envelope.meta)
        case Kind.WHERE | Kind.OUTBOXES | Kind.CLUSTER:
            read_answer(envelope)
    return envelope.kind.name


def tried(parts: Parts, report: Report, *, measure: bool) -> None:
    """Decodes one message and notes what became of it. Raises Crash."""
    length = sum(map(len, parts))
    report.messages, report.longest = report.messages + 1, max(report.longest, length)
    if measure:
        tracemalloc.start()
    try:
        report.accepted[read(parts)] += 1
    except WireError as error:
        report.refused[_reason(error)] += 1
    except BaseException as error:
        raise Crash(f"{type(error).__name__}: {error}\nparts = {parts!r}") from error
    finally:
        peak = tracemalloc.get_traced_memory()[1] if measure else 0
        tracemalloc.stop()
    report.peak = max(report.peak, peak)
    if peak > MEMORY_FACTOR * length + MEMORY_EXTRA:
        raise Crash(f"{peak} bytes of memory for a message of {length}\nparts = {parts!r}")


def _reason(error: WireError) -> str:
    """The reason without the message's own values, so that equal reasons count as one."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"|-?\d+(?:\.\d+)?", "_", str(error))
    kinds = "|".join(kind.name for kind in Kind)
    return " ".join(re.sub(rf"\b(?:{kinds})\b", "KIND", text).split()[:9])


def fuzz(*, seed: int, messages: int | None, seconds: float | None) -> Report:
    """Decodes so many messages, or for so long. Raises Crash at the first that is not dealt with as it must be."""
    rng, seeds, report = random.Random(seed), corpus(), Report()
    for parts in seeds:
        read(parts)  # what is not damaged is accepted
    until = None if seconds is None else time.monotonic() + seconds
    while (messages is None or report.messages < messages) and (until is None or time.monotonic() < until):
        tried(mutated(rng, seeds), report, measure=report.messages % MEMORY_EVERY == 0)
    return report


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, help="how long; without --messages 60")
    parser.add_argument("--messages", type=int, help="how many")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="the same seed, the same messages")
    asked = parser.parse_args()
    seconds = 60.0 if asked.seconds is None and asked.messages is None else asked.seconds
    print(f"seed {asked.seed}")
    try:
        print(fuzz(seed=asked.seed, messages=asked.messages, seconds=seconds))
    except Crash as crash:
        print(f"CRASH: {crash}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
