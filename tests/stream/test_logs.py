"""What log lines look like: for people and as JSON, which camera they name, and that no password gets into them."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stream import logs
from stream.config import build_config
from stream.logs import HumanFormatter, JsonFormatter
from stream.machine import children

PASSWORD = "s3cret"
URL = f"rtsp://admin:{PASSWORD}@192.0.2.1/live"


def a_record(message: str, *arguments: object, level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    record = logging.LogRecord("stream.camera", level, "camera.py", 1, message, arguments, None)
    record.created = 1000.5
    vars(record).update(extra)
    return record


def as_json(record: logging.LogRecord, camera: str | None = None) -> dict[str, Any]:
    line = JsonFormatter("score", camera).format(record)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def failed(error: Exception) -> Any:
    try:
        raise error
    except type(error):
        return sys.exc_info()


@contextmanager
def a_process() -> Iterator[io.StringIO]:
    """The root logger as a process begins with it (and not as pytest leaves it), and where that process's lines go."""
    root, library = logging.getLogger(), logging.getLogger("faiss.loader")
    before, level, librarys = root.handlers[:], root.level, library.level
    root.handlers[:] = []
    try:
        yield io.StringIO()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        library.setLevel(librarys)
        logging.captureWarnings(False)


# JSON


def test_a_line_is_one_object_with_time_level_process_logger_and_message() -> None:
    assert as_json(a_record("ready after %.1f s", 3.25, level=logging.WARNING)) == {
        "time": "1970-01-01T00:16:40.500Z",
        "level": "warning",
        "process": "score",
        "logger": "stream.camera",
        "message": "ready after 3.2 s",
    }


def test_the_camera_is_what_was_given_as_extra() -> None:
    assert as_json(a_record("camera %s is gone", "back", camera="gate"))["camera"] == "gate"


def test_the_camera_is_what_a_message_about_one_begins_with() -> None:
    assert as_json(a_record("camera %s, frame %d: it is damaged", "gate", 7))["camera"] == "gate"
    assert "camera" not in as_json(a_record("scoring %d camera(s)", 3))
    assert "camera" not in as_json(a_record("camera %s"))


def test_a_process_of_one_camera_names_it_in_every_line() -> None:
    assert as_json(a_record("no worker answers"), camera="gate")["camera"] == "gate"
    assert as_json(a_record("camera %s is gone", "back"), camera="gate")["camera"] == "back"


def test_an_exception_is_text_in_the_same_line() -> None:
    found = as_json(a_record("it broke", exc_info=failed(ValueError("of two\nlines"))))

    assert found["exception"].startswith("Traceback (most recent call last):\n")
    assert found["exception"].endswith("ValueError: of two\nlines")


def test_every_text_fits_into_ascii() -> None:
    line = JsonFormatter("score").format(a_record("camera %s", "Süd \ud800 \x00"))

    assert line.isascii()
    assert json.loads(line)["message"] == "camera Süd \ud800 \x00"


@pytest.mark.parametrize("formatter", [JsonFormatter("read"), HumanFormatter("read")])
@pytest.mark.parametrize(
    "record",
    [
        a_record(f"{URL} cannot be opened"),
        a_record("%s cannot be opened", URL),
        a_record("it broke", exc_info=failed(OSError(f"cannot open {URL}."))),
    ],
)
def test_no_password_gets_into_a_line(formatter: logging.Formatter, record: logging.LogRecord) -> None:
    line = formatter.format(record)

    assert PASSWORD not in line
    assert "192.0.2.1/live" in line


# For people


def test_a_line_for_people_has_the_time_a_letter_the_process_and_the_message() -> None:
    line = HumanFormatter("50%").format(a_record("camera %s is LIVE", "gate", level=logging.WARNING))

    assert line[2:] == f"{line[2:8]} W 50%: camera gate is LIVE"
    assert line[2] == line[5] == ":"


# Set up


def test_a_process_logs_from_its_level_on_in_its_format() -> None:
    with a_process() as lines:
        logs.set_up("warning", process="feed", form="json", stream=lines)
        logging.getLogger("stream.feed").info("not told")
        logging.getLogger("stream.feed").warning("told")

        (line,) = lines.getvalue().splitlines()
        assert (json.loads(line)["process"], json.loads(line)["message"]) == ("feed", "told")


def test_the_format_can_change_when_the_configuration_is_known() -> None:
    with a_process() as lines:
        logs.set_up("info", process="feed", stream=lines)
        logging.getLogger("stream").info("before")
        logs.use("json")
        logging.getLogger("stream").info("after")

        before, after = lines.getvalue().splitlines()
        assert before.endswith(" I feed: before")
        assert json.loads(after)["message"] == "after"


def test_setting_up_twice_tells_nothing_twice() -> None:
    with a_process() as lines:
        for _ in range(2):
            logs.set_up("info", process="feed", stream=lines)
        logging.getLogger("stream").info("once")

        assert len(lines.getvalue().splitlines()) == 1


def test_a_program_that_has_set_up_logging_itself_keeps_its_own() -> None:
    with a_process() as lines:
        theirs = logging.NullHandler()
        logging.getLogger().addHandler(theirs)
        logs.set_up("info", process="feed", stream=lines)

        assert logging.getLogger().handlers == [theirs]


def test_what_the_user_is_told_is_plain_for_people_and_a_log_line_for_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with a_process() as lines:
        logs.set_up("info", process="run", stream=lines)
        logs.tell("reloaded")
        logs.use("json")
        logs.tell("not reloaded", level=logging.ERROR)

        assert capsys.readouterr().err == "spade-stream: reloaded\n"
        (line,) = lines.getvalue().splitlines()
        assert (json.loads(line)["level"], json.loads(line)["message"]) == ("error", "not reloaded")


def test_a_warning_of_python_is_a_line_like_any_other_where_lines_are_json() -> None:
    with a_process() as lines:
        logs.set_up("info", process="score", form="json", stream=lines)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("this will go away", DeprecationWarning, stacklevel=1)

        (line,) = lines.getvalue().splitlines()
        assert "this will go away" in json.loads(line)["message"]


# All processes of a run


@pytest.mark.parametrize(
    ("configured", "asked", "expected"), [("human", None, "human"), ("json", None, "json"), ("human", "json", "json")]
)
def test_the_processes_of_a_run_log_as_it_was_asked_for_or_else_as_configured(
    tmp_path: Path, configured: str, asked: str | None, expected: str
) -> None:
    settings = {"cameras": [{"id": "gate", "source": "0"}], "log": {"format": configured}}
    config = build_config(settings, where="test", base=tmp_path, environment={})
    processes = children(config, tmp_path / "c.yaml", base=tmp_path, named=tmp_path / "c.yaml", log_format=asked)

    assert len(processes) >= 3  # feed, worker, reader
    for process in processes:
        assert process.argv[process.argv.index("--log-format") + 1] == expected


@pytest.mark.parametrize("words", [("check",), ("feed",)])
def test_the_error_that_ends_a_command_is_a_log_line_where_lines_are_json(tmp_path: Path, words: tuple[str]) -> None:
    command = [sys.executable, "-m", "stream", *words, str(tmp_path / "missing.yaml"), "--log-format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    (line,) = done.stderr.splitlines()
    found = json.loads(line)
    assert done.returncode == 2
    assert (found["level"], found["process"]) == ("error", words[0])
    assert "missing.yaml" in found["message"]


def test_a_process_logs_as_its_configuration_says_where_nothing_else_was_asked_for(tmp_path: Path) -> None:
    config = tmp_path / "site.yaml"
    config.write_text("cameras: [{id: gate, source: clip.mp4}]\nlog: {format: json}\n")
    command = [sys.executable, "-m", "stream", "read", str(config), "--camera", "yard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    found = json.loads(done.stderr.splitlines()[-1])
    assert done.returncode == 2
    assert (found["process"], found["camera"]) == ("read", "yard")
    assert "'yard' is not in the configuration" in found["message"]
