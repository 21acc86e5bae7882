"""The sinks for a terminal and for files, then the runner. What all sinks have in common: ``test_sink_contract``."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream.errors import LinkLost, SinkError
from stream.messages import Alert, Evidence, Phase, Region, unix_time
from stream.sink_sections import JsonLinesSection
from stream.sinks import jsonl as jsonl_module
from stream.sinks.jsonl import JsonLinesSink
from stream.sinks.runner import LAST_RETRY_S, run_sink
from stream.sinks.stdout import StdoutSink, alert_line

PICTURES = Evidence(b"png", b"jpeg")
NOTHING = Evidence(b"", b"")


def an_alert(seq: int = 1, **changes: Any) -> Alert:
    noon = unix_time("2026-03-01T12:00:00Z")
    regions = (
        Region(bbox=(1, 2, 3, 4), polygon=((1, 2),), area=10, peak=2.0),
        Region(bbox=(100, 20, 40, 60), polygon=((100, 20),), area=2000, peak=2.5),
    )
    alert = Alert(
        seq, f"a{seq}", Phase.START, "gate", "yard", noon, noon, 10 * seq, 2.5, 1.25, regions, (), mask="outbox/m.png"
    )
    return replace(alert, **changes)


# -- stdout -----------------------------------------------------------------------------------------------------------


def test_a_line_says_when_where_what_and_how_much() -> None:
    stream = io.StringIO()
    StdoutSink(stream).deliver(an_alert(7), PICTURES)

    assert stream.getvalue() == (
        "2026-03-01T12:00:00.000Z gate START  2.00x threshold, 2 regions, largest 40x60 at (100, 20), "
        "scene yard, alert a7 (no. 7)\n"
    )


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"threshold": 0.0}, " START  score 2.5, "),
        ({"regions": ()}, "no region,"),
        ({"regions": (Region((1, 2, 3, 4), (), 12, 1.0),)}, "1 region 3x4 at (1, 2),"),
        ({"phase": Phase.END}, " END    2.00x"),
        ({"segment": "clip-3", "frame_seq": 42}, "gate clip-3#42 START"),
    ],
)
def test_a_line_fits_every_alert(changes: dict[str, Any], part: str) -> None:
    assert part in alert_line(an_alert(**changes))


def test_a_name_cannot_break_the_line_or_steer_the_terminal() -> None:
    line = alert_line(an_alert(camera="gate\n\x1b[2J", scene="Tür"))

    assert r"gate\n\x1b[2J" in line
    assert line.isprintable()
    assert "Tür" in line


def test_a_stream_that_takes_nothing_is_a_sink_error() -> None:
    stream = io.StringIO()
    stream.close()

    with pytest.raises(SinkError, match="alert 1 cannot be printed"):
        StdoutSink(stream).deliver(an_alert(), PICTURES)


# -- json lines -------------------------------------------------------------------------------------------------------


def lines_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "alerts.jsonl").read_text().splitlines()]


def test_each_alert_is_one_line_in_the_published_form_with_its_pictures_beside_it(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path)
    sink.deliver(an_alert(1), PICTURES)
    sink.deliver(an_alert(2), Evidence(b"", b"jpeg2"))

    first, second = lines_in(tmp_path)
    assert Alert.from_json(first) == an_alert(1, mask="pictures/000000001.mask.png", snapshot="pictures/000000001.jpg")
    assert (tmp_path / first["mask"]).read_bytes() == b"png"
    assert (tmp_path / first["snapshot"]).read_bytes() == b"jpeg"
    assert second["mask"] is None
    assert (tmp_path / second["snapshot"]).read_bytes() == b"jpeg2"


def test_a_clip_lies_beside_the_pictures_and_the_line_names_it(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path)
    sink.deliver(an_alert(12, phase=Phase.END, clip="outbox/a.mp4"), Evidence(b"png", b"jpeg", b"mp4"))
    sink.deliver(an_alert(13, clip="outbox/lost.mp4"), PICTURES)

    with_clip, without = lines_in(tmp_path)
    assert with_clip["clip"] == "pictures/000000012.mp4"
    assert (tmp_path / with_clip["clip"]).read_bytes() == b"mp4"
    assert without["clip"] is None, "an outbox's name means nothing here"


def test_after_a_restart_it_goes_on_and_repeats_nothing(tmp_path: Path) -> None:
    with_two = JsonLinesSink(tmp_path)
    assert with_two.last_seq == 0
    with_two.deliver(an_alert(1), PICTURES)
    with_two.deliver(an_alert(2), PICTURES)
    with_two.close()

    again = JsonLinesSink(tmp_path)
    assert again.last_seq == 2
    for seq in (1, 2, 3, 3):
        again.deliver(an_alert(seq), PICTURES)
    assert [line["seq"] for line in lines_in(tmp_path)] == [1, 2, 3]


@pytest.mark.fault("sink killed in the middle of a line", "the line is removed, the alert comes again")
@pytest.mark.parametrize("torn", [b"{", b'{"schema":"spade-stream/alert/1","seq":3', b"x" * 200_000, b"\0" * 10])
@pytest.mark.parametrize("whole", [0, 2])
def test_a_line_cut_short_by_a_crash_is_removed_at_opening(tmp_path: Path, torn: bytes, whole: int) -> None:
    sink = JsonLinesSink(tmp_path)
    for seq in range(1, whole + 1):
        sink.deliver(an_alert(seq), PICTURES)
    sink.close()
    with (tmp_path / "alerts.jsonl").open("ab") as file:
        file.write(torn)

    again = JsonLinesSink(tmp_path)
    assert len(lines_in(tmp_path)) == again.last_seq == whole
    again.deliver(an_alert(whole + 1), PICTURES)
    assert [line["seq"] for line in lines_in(tmp_path)] == list(range(1, whole + 2))


def test_a_last_line_longer_than_a_block_is_found_whole(tmp_path: Path) -> None:
    regions = tuple(Region((n, n, 1, 1), ((n, n),), 1, 1.0) for n in range(5000))
    sink = JsonLinesSink(tmp_path)
    sink.deliver(an_alert(1), PICTURES)
    sink.deliver(an_alert(2, regions=regions), PICTURES)
    sink.close()

    assert (tmp_path / "alerts.jsonl").stat().st_size > 200_000
    assert JsonLinesSink(tmp_path).last_seq == 2


def test_a_damaged_last_line_is_an_error_and_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "alerts.jsonl").write_text("not an alert\n")

    with pytest.raises(SinkError, match=r"alerts\.jsonl: a line is not an alert"):
        JsonLinesSink(tmp_path)
    assert (tmp_path / "alerts.jsonl").read_text() == "not an alert\n"


@pytest.mark.parametrize("seq", [1, 2])
def test_a_number_that_another_outbox_gave_to_another_alert_is_not_skipped(tmp_path: Path, seq: int) -> None:
    sink = JsonLinesSink(tmp_path)
    sink.deliver(an_alert(1), PICTURES)
    sink.deliver(an_alert(2), PICTURES)

    with pytest.raises(SinkError, match="another outbox"):
        sink.deliver(an_alert(seq, alert_id="other"), PICTURES)


def test_two_sinks_cannot_write_to_one_folder(tmp_path: Path) -> None:
    first = JsonLinesSink(tmp_path)

    with pytest.raises(SinkError, match="another process"):
        JsonLinesSink(tmp_path)
    first.close()
    JsonLinesSink(tmp_path).close()


@pytest.mark.fault("disk full at a sink", "no half line; the alert is repeated until it is taken")
def test_a_full_disk_leaves_no_half_line_and_the_next_attempt_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = JsonLinesSink(tmp_path)
    sink.deliver(an_alert(1), PICTURES)

    def half_of_it(file: int, data: bytes) -> None:
        os.write(file, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(jsonl_module, "_write_all", half_of_it)
        with pytest.raises(SinkError, match="alert 2 cannot be written: No space left"):
            sink.deliver(an_alert(2), PICTURES)
    assert sink.last_seq == 1
    sink.deliver(an_alert(2), PICTURES)
    assert [line["seq"] for line in lines_in(tmp_path)] == [1, 2]


@pytest.mark.parametrize("how", ["removed", "folder removed", "moved", "emptied", "cut in a line"])
def test_a_file_that_somebody_takes_away_or_empties_meanwhile_costs_no_later_alert(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "alerts"
    file = folder / "alerts.jsonl"
    sink = JsonLinesSink(folder)
    for seq in (1, 2):
        sink.deliver(an_alert(seq), PICTURES)
    if how == "removed":
        file.unlink()
    elif how == "folder removed":
        shutil.rmtree(folder)
    elif how == "moved":
        file.rename(folder / "old.jsonl")
    else:  # as logrotate's copytruncate does
        os.truncate(file, 0 if how == "emptied" else file.stat().st_size - 9)
    sink.deliver(an_alert(3), PICTURES)
    sink.deliver(an_alert(4), PICTURES)
    sink.close()

    assert [line["seq"] for line in lines_in(folder)] == [*([1] if how == "cut in a line" else []), 3, 4]
    assert JsonLinesSink(folder).last_seq == 4


def test_pictures_that_cannot_be_written_keep_their_line_back(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path)
    (tmp_path / "pictures").write_text("a file where the folder belongs")

    with pytest.raises(SinkError, match="pictures"):
        sink.deliver(an_alert(), PICTURES)
    assert lines_in(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_a_sink_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SinkError, match="writable folder"):
        JsonLinesSink(tmp_path / "file" / "sub")


def test_a_closed_sink_takes_nothing(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path)
    sink.close()

    with pytest.raises(SinkError, match="closed"):
        sink.deliver(an_alert(), PICTURES)


NOON = unix_time("2026-03-01T12:00:00Z")


def aged(folder: Path, days: float) -> None:
    """Makes every picture that many days old, at noon."""
    for file in (folder / "pictures").iterdir():
        os.utime(file, (NOON - days * 86_400, NOON - days * 86_400))


class Clocks:
    """Both clocks, which the test sets: a process that began at noon."""

    def __init__(self, wall: float = NOON) -> None:
        self.wall, self.passed = wall, 0.0

    def sink(self, folder: Path, days: float | None = 30) -> JsonLinesSink:
        return JsonLinesSink(folder, days=days, wall=lambda: self.wall, monotonic=lambda: self.passed)

    def pass_(self, seconds: float) -> None:
        self.wall, self.passed = self.wall + seconds, self.passed + seconds


def pictures_in(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / "pictures").iterdir())


def test_pictures_and_clips_that_are_too_old_are_removed_and_their_lines_stay(tmp_path: Path) -> None:
    clocks = Clocks()
    sink = clocks.sink(tmp_path)
    sink.deliver(an_alert(1), Evidence(b"png", b"jpeg", b"mp4"))
    aged(tmp_path, 30.1)
    sink.deliver(an_alert(2), PICTURES)
    (tmp_path / "pictures" / "notes.jpg").write_bytes(b"of somebody else")
    os.utime(tmp_path / "pictures" / "notes.jpg", (0, 0))
    os.utime(tmp_path / "pictures" / "000000002.jpg", (NOON - 29 * 86_400,) * 2)

    clocks.pass_(3600.0)
    assert sink.tend() is None
    assert pictures_in(tmp_path) == ["000000002.jpg", "000000002.mask.png", "notes.jpg"]
    assert [json.loads(line)["snapshot"] for line in (tmp_path / "alerts.jsonl").read_text().splitlines()] == [
        "pictures/000000001.jpg",
        "pictures/000000002.jpg",
    ]


def test_a_configuration_without_days_removes_no_picture(tmp_path: Path) -> None:
    section = JsonLinesSection(type="jsonl", folder=tmp_path)
    clocks = Clocks()
    sink = clocks.sink(tmp_path, section.days)
    sink.deliver(an_alert(1), PICTURES)
    aged(tmp_path, 10_000)
    clocks.pass_(3600.0)
    assert sink.tend() is None
    assert len(pictures_in(tmp_path)) == 2


def test_old_pictures_are_looked_for_once_an_hour_and_not_before_the_first_is_over(tmp_path: Path) -> None:
    clocks = Clocks()
    sink = clocks.sink(tmp_path)
    for seq in (1, 2):
        sink.deliver(an_alert(seq), PICTURES)
        aged(tmp_path, 31)
        clocks.pass_(3599.0)
        sink.tend()
        assert len(pictures_in(tmp_path)) == 2
        clocks.pass_(1.0)
        sink.tend()
        assert pictures_in(tmp_path) == []


@pytest.mark.fault("the clock is wrong at a sink that writes files", "no picture is taken for old because of it")
def test_a_clock_that_is_set_far_ahead_removes_nothing_for_an_hour(tmp_path: Path) -> None:
    clocks = Clocks()
    sink = clocks.sink(tmp_path)
    sink.deliver(an_alert(1), PICTURES)
    aged(tmp_path, 1)
    clocks.pass_(3600.0)
    sink.tend()
    clocks.pass_(1800.0)  # half of the way to the next look
    clocks.wall += 365 * 86_400
    sink.tend()
    clocks.pass_(3599.0)
    sink.tend()
    clocks.wall -= 365 * 86_400  # put right in time
    sink.tend()
    clocks.pass_(3600.0)
    sink.tend()
    assert len(pictures_in(tmp_path)) == 2


@pytest.mark.fault("pictures are written before the clock is set", "they are as old as they are, and not of 1970")
def test_what_was_written_before_the_clock_was_set_is_dated_anew(tmp_path: Path) -> None:
    clocks = Clocks(wall=50.0)  # of 1970
    sink = clocks.sink(tmp_path)
    sink.deliver(an_alert(1), PICTURES)
    for file in (tmp_path / "pictures").iterdir():
        os.utime(file, (60.0, 60.0))
    clocks.pass_(100.0)
    sink.tend()
    clocks.wall += NOON
    sink.tend()
    assert {file.stat().st_mtime for file in (tmp_path / "pictures").iterdir()} == {NOON + 60.0}
    clocks.pass_(3600.0)
    sink.tend()
    assert len(pictures_in(tmp_path)) == 2


def test_what_is_old_stays_old_when_the_clock_is_set(tmp_path: Path) -> None:
    clocks = Clocks()
    sink = clocks.sink(tmp_path)
    sink.deliver(an_alert(1), PICTURES)
    aged(tmp_path, 31)
    clocks.wall += 7200.0
    sink.tend()
    clocks.pass_(3600.0)
    sink.tend()
    assert pictures_in(tmp_path) == []


def test_old_pictures_that_cannot_be_removed_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks()
    sink = clocks.sink(tmp_path)
    sink.deliver(an_alert(1), PICTURES)
    aged(tmp_path, 31)
    clocks.pass_(3600.0)

    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "unlink", refuse)
    for _ in range(2):  # it stays told until the next look
        assert "pictures older than 30 days cannot be removed: Permission denied" in str(sink.tend())


# -- the runner -------------------------------------------------------------------------------------------------------


class Stream:
    """Hands out alerts, then stops the runner. Notes in ``log`` what happens in which order."""

    def __init__(self, count: int) -> None:
        self.waiting = [an_alert(seq) for seq in range(1, count + 1)]
        self.log: list[str] = []
        self.stopped = False

    def poll(self, timeout: float) -> tuple[Alert, Evidence] | None:
        if not self.waiting:
            self.stopped = True
            return None
        return self.waiting.pop(0), PICTURES

    def listen(self) -> None:
        """Nothing comes."""

    def ack(self, seq: int) -> None:
        self.log.append(f"ack {seq}")

    def stop(self) -> bool:
        return self.stopped


class FailingSink:
    """Refuses an alert as often as it is told to."""

    def __init__(self, stream: Stream, refusals: dict[int, int]) -> None:
        self.stream = stream
        self.refusals = dict(refusals)

    def deliver(self, alert: Alert, evidence: Evidence) -> None:
        if self.refusals.get(alert.seq, 0) > 0:
            self.refusals[alert.seq] -= 1
            self.stream.log.append(f"refused {alert.seq}")
            raise SinkError("server is down")
        self.stream.log.append(f"took {alert.seq}")

    def close(self) -> None:
        raise AssertionError("whoever opened it closes it")


def test_the_runner_acknowledges_each_alert_after_the_sink_took_it() -> None:
    stream = Stream(2)

    assert run_sink(FailingSink(stream, {}), stream, stream.stop) == 2
    assert stream.log == ["took 1", "ack 1", "took 2", "ack 2"]


@pytest.mark.fault("sink refuses alerts", "repeated with growing pauses; none is skipped")
def test_the_runner_repeats_a_refused_alert_until_it_is_taken_and_skips_none(caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream(2)

    assert run_sink(FailingSink(stream, {1: 2}), stream, stream.stop, sleep=lambda _: None) == 2
    assert stream.log == ["refused 1", "refused 1", "took 1", "ack 1", "took 2", "ack 2"]
    assert "alert 1 not taken, again in 0.5 s: server is down" in caplog.text


def test_the_wait_doubles_up_to_its_cap_and_begins_anew_with_the_next_alert() -> None:
    stream = Stream(2)
    waits: dict[int, float] = {}

    def sleep(seconds: float) -> None:
        attempt = len(stream.log)
        waits[attempt] = waits.get(attempt, 0.0) + seconds

    run_sink(FailingSink(stream, {1: 8, 2: 1}), stream, stream.stop, sleep=sleep)
    assert list(waits.values()) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, LAST_RETRY_S, LAST_RETRY_S, 0.5]


def test_a_stop_ends_a_long_wait_and_leaves_the_alert_unacknowledged() -> None:
    stream = Stream(1)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        stream.stopped = sum(slept) >= 5.0

    assert run_sink(FailingSink(stream, {1: 99}), stream, stream.stop, sleep=sleep) == 0
    assert sum(slept) == 5.0
    assert "ack 1" not in stream.log


def test_an_error_that_is_not_the_sinks_own_ends_the_run() -> None:
    class Refused(Stream):
        def poll(self, timeout: float) -> tuple[Alert, Evidence] | None:
            raise LinkLost("another subscriber took over the name")

    stream = Refused(0)
    with pytest.raises(LinkLost):
        run_sink(FailingSink(stream, {}), stream, stream.stop)
