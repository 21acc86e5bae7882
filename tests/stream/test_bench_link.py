"""``bench link`` with small pictures: messages really go from another process to this one, by every way."""

from __future__ import annotations

import multiprocessing
from contextlib import ExitStack

import cv2
import numpy as np
import pytest

from stream.bench.link import BASE, CREDIT, FRAMES, LinkOptions, _Post, a_packet, run_link
from stream.bench.link_sender import Order, encoded
from stream.bench.result import BenchResult
from stream.errors import StreamError
from stream.replay import socket_folder
from stream.wire import decode, decode_frame

OPTIONS = LinkOptions(picture=(320, 180), size=64, seconds=0.5)


@pytest.fixture(scope="module")
def result() -> BenchResult:
    return run_link(OPTIONS, stopping=lambda: False)


def test_every_way_has_its_row_beside_the_frame_over_ipc(result: BenchResult) -> None:
    ways = [f"{way}, {what}" for what in ("FRAME", "raw frame") for way in ("ipc", "tcp", "tcp + CURVE")]
    assert {row.name for row in result.rows} == {*ways, CREDIT}
    for row in result.rows:
        assert row.base == (None if row.name == BASE else BASE)
        assert (row.figures["runs"] or 0) >= 3


def test_rates_are_of_the_median_message(result: BenchResult) -> None:
    for row in result.rows:
        seconds = (row.figures["median_ms"] or 0) / 1e3
        assert row.figures["messages_per_s"] == pytest.approx(1 / seconds)
        kilobytes = row.figures["message_kb"] or 0
        assert row.figures["mb_per_s"] == pytest.approx(kilobytes / 1e3 / seconds)


def test_a_message_is_what_a_reader_sends(result: BenchResult) -> None:
    packet, raw = a_packet(OPTIONS)
    sent = decode_frame(decode(encoded(packet, None)))
    assert sent.image.shape == (64, 64, 3)
    assert sent.motion is not None
    view = cv2.imdecode(np.frombuffer(sent.view, np.uint8), cv2.IMREAD_COLOR)
    assert view is not None
    assert view.shape == (180, 320, 3)
    sizes = {row.name: row.figures["message_kb"] or 0 for row in result.rows}
    pixels = 320 * 180 * 3
    assert sizes["tcp, raw frame"] == pytest.approx(pixels / 1e3, rel=0.01)
    assert len(raw) == pixels
    assert decode(encoded(packet, raw)).payloads[0] == raw


def test_no_process_is_left(result: BenchResult) -> None:
    assert multiprocessing.active_children() == []


def test_a_sender_that_died_is_noticed() -> None:
    packet, raw = a_packet(OPTIONS)
    with socket_folder() as folder, ExitStack() as opened:
        post = _Post(folder, opened, packet, raw)
        post.carry(Order(0, 2))
        post._sender.kill()
        post._sender.join()
        for order in (Order(0, FRAMES), Order(None, FRAMES)):
            with pytest.raises(StreamError, match="died"):
                post.carry(order)


def test_it_ends_where_it_is_stopped() -> None:
    with pytest.raises(StreamError, match="stopped"):
        run_link(OPTIONS, stopping=lambda: True)
    assert multiprocessing.active_children() == []
