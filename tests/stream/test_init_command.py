"""``spade-stream init``: asked or not, it leaves a configuration that check accepts, and tells no secret."""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream import init_command
from stream.config import load_config
from stream.errors import ConfigError, SourceStalled, SourceUnreachable, StreamError, UsageError
from stream.init_command import Terminal, probe, run_init
from stream.new_config import SYNTHETIC

PATIENCE_S = 60.0  # how long a test waits for what must happen


def arguments(**changes: Any) -> argparse.Namespace:
    values = {"config": Path("spade-stream.yaml"), "yes": False, "camera": [], "fps": 5.0, "probe": False}
    return argparse.Namespace(**{**values, "force": False, **changes})


class Person:
    """Gives the answers in their order, and keeps what was shown."""

    def __init__(self, *answers: str, secrets: tuple[str, ...] = ()) -> None:
        self.answers, self.secrets, self.shown = iter(answers), iter(secrets), list[str]()
        self.terminal = Terminal(ask=self._ask, ask_secret=self._ask_secret, say=self.shown.append)

    def _ask(self, question: str) -> str:
        self.shown.append(question)
        try:
            return next(self.answers)
        except StopIteration:
            raise EOFError from None

    def _ask_secret(self, question: str) -> str:
        self.shown.append(question)
        return next(self.secrets)

    @property
    def saw(self) -> str:
        return "\n".join(self.shown)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def cameras() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(Path("spade-stream.yaml").read_text())["cameras"]
    return found


def test_it_asks_for_cameras_until_an_empty_line() -> None:
    person = Person(
        *("north-gate", "rtsp://192.0.2.11/s1", "viewer", "2"),
        *("yard", "rtsp://192.0.2.12/s1", "", ""),
        *("", "n"),
        secrets=("p@ss word",),
    )
    assert run_init(arguments(), person.terminal, interactive=True) == 0
    assert cameras() == [
        {"id": "north-gate", "source": "rtsp://viewer:${CAMERA_NORTH_GATE_PASSWORD}@192.0.2.11/s1", "fps": 2.0},
        {"id": "yard", "source": "rtsp://192.0.2.12/s1", "fps": 5.0},
    ]
    secrets = Path("spade-stream.env")
    assert "CAMERA_NORTH_GATE_PASSWORD=p%40ss%20word\n" in secrets.read_text()
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert "p%40ss" not in person.saw
    assert "p@ss" not in person.saw
    assert "spade-stream run spade-stream.yaml" in person.saw


def test_an_address_with_a_parameter_that_nobody_knows_goes_into_the_secrets_and_still_takes_a_password() -> None:
    person = Person("gate", "rtsp://192.0.2.11/live?x=abc", "viewer", "", "", "n", secrets=("s3cret",))
    assert run_init(arguments(), person.terminal, interactive=True) == 0
    assert cameras() == [{"id": "gate", "source": "${CAMERA_GATE_URL}", "fps": 5.0}]
    assert "CAMERA_GATE_URL='rtsp://viewer:s3cret@192.0.2.11/live?x=abc'\n" in Path("spade-stream.env").read_text()


def test_a_wrong_answer_is_named_and_asked_again() -> None:
    person = Person(
        *("north gate",),
        *("gate", "rstp://192.0.2.11/s1"),
        *("gate", "rtsp://a:s3cret@192.0.2.11/s1", "many", "1000", "3"),
        *("gate", "", "n"),
    )
    run_init(arguments(), person.terminal, interactive=True)
    assert [(camera["id"], camera["fps"]) for camera in cameras()] == [("gate", 3.0)]
    for said in ("is no id", "did you mean rtsp://", "'many': must be", "240 at most", "used twice"):
        assert said in person.saw
    assert "s3cret" not in person.saw


def test_without_a_camera_it_offers_the_webcam_and_the_rendered_scene() -> None:
    run_init(arguments(), Person("", "1", "2", "n").terminal, interactive=True)
    assert cameras()[0]["source"] == "2"
    run_init(arguments(force=True), Person("", "", "n").terminal, interactive=True)
    assert cameras()[0]["source"] == SYNTHETIC
    assert not Path("spade-stream.env").exists()


def test_what_it_writes_is_loaded_with_the_secrets_and_named_without_them() -> None:
    run_init(arguments(yes=True, camera=["gate=rtsp://a:x@cam/1"]), Person().terminal, interactive=False)
    load_config(Path("spade-stream.yaml"), {"CAMERA_GATE_PASSWORD": "x"})
    with pytest.raises(ConfigError, match="CAMERA_GATE_PASSWORD is not set"):
        load_config(Path("spade-stream.yaml"), {})


def test_for_scripts_it_asks_nothing() -> None:
    person = Person()
    code = run_init(arguments(yes=True, camera=["a=0", "b=campus:"], fps=2.5), person.terminal, interactive=False)
    assert (code, [(c["id"], c["source"], c["fps"]) for c in cameras()]) == (
        0,
        [("a", "0", 2.5), ("b", "campus:", 2.5)],
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "standard input is no terminal: use --yes"),
        ({"yes": True}, "name the cameras with --camera"),
        ({"yes": True, "camera": ["gate"]}, "must be ID=URL"),
        ({"yes": True, "camera": ["a=0", "a=1"]}, "used twice"),
        ({"yes": True, "camera": ["a=0"], "config": Path("spade.txt")}, r"name the configuration \.yaml"),
        ({"yes": True, "camera": ["a=0"], "config": Path("no/spade.yaml")}, "is no folder"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run_init(arguments(**changes), Person().terminal, interactive=False)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("there", ["spade-stream.yaml", "spade-stream.env"])
def test_a_file_that_is_there_is_not_replaced_unless_forced(there: str) -> None:
    Path(there).write_text("mine")
    given = arguments(yes=True, camera=["gate=rtsp://a:x@cam/1"])
    with pytest.raises(UsageError, match=f"{there} is there already: --force"):
        run_init(given, Person().terminal, interactive=False)
    assert Path(there).read_text() == "mine"
    given.force = True
    run_init(given, Person().terminal, interactive=False)
    assert Path(there).read_text() != "mine"
    assert Path("spade-stream.env").stat().st_mode & 0o777 == 0o600


def test_questions_that_are_broken_off_leave_nothing() -> None:
    with pytest.raises(UsageError, match="broken off; nothing was written"):
        run_init(arguments(), Person("gate").terminal, interactive=True)
    assert list(Path().iterdir()) == []


def test_a_variable_of_the_users_own_stays_and_need_not_be_set_yet() -> None:
    run_init(arguments(yes=True, camera=["a=rtsp://v:${MY_PASSWORD}@cam/1"]), Person().terminal, interactive=False)
    assert cameras()[0]["source"] == "rtsp://v:${MY_PASSWORD}@cam/1"
    assert not Path("spade-stream.env").exists()


def test_a_connection_is_tried_with_the_password_and_its_error_told_without(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refuses(source: str) -> str:
        tried.append(source)
        raise SourceUnreachable(f"{source}: refused s3cret")

    monkeypatch.setattr(init_command, "probe", refuses)
    person = Person("gate", "rtsp://a:s3cret@192.0.2.1/1", "", "", "y", "n")
    with pytest.raises(UsageError, match="nothing was written"):
        run_init(arguments(), person.terminal, interactive=True)
    assert tried == ["rtsp://a:s3cret@192.0.2.1/1"]
    assert "gate: rtsp://***@192.0.2.1/1: refused ***" in person.saw
    assert list(Path().iterdir()) == []


def test_a_script_that_tries_gets_the_files_and_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(source: str) -> str:
        if source == "1":
            raise SourceUnreachable("webcam 1: is not there")
        return "answers"

    monkeypatch.setattr(init_command, "probe", answers)
    given = arguments(yes=True, camera=["a=0", "b=1"], probe=True)
    assert run_init(given, Person().terminal, interactive=False) == 1
    assert len(cameras()) == 2


def test_a_source_that_answers_says_its_size_and_rate() -> None:
    assert probe("campus:?fps=10&size=320x180") == "answers, 320 x 180, 10 frames/s"


def test_an_address_that_nobody_answers_is_named_without_its_password() -> None:
    with pytest.raises(StreamError) as error:
        probe("rtsp://a:s3cret@127.0.0.1:9/x")
    assert "s3cret" not in str(error.value)
    assert "***@127.0.0.1:9" in str(error.value)


def test_a_look_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(init_command, "open_source", lambda source: released.wait(PATIENCE_S))
    with pytest.raises(SourceStalled, match=r"no answer within 0\.05 s"):
        probe("rtsp://192.0.2.1/x", seconds=0.05)
    released.set()


def test_a_library_that_fails_otherwise_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(source: str) -> None:
        raise RuntimeError(f"cannot parse {source}")

    monkeypatch.setattr(init_command, "open_source", breaks)
    with pytest.raises(StreamError, match="RuntimeError") as error:
        probe("rtsp://a:s3cret@cam/x")
    assert "s3cret" not in str(error.value)


# -- on a real terminal -----------------------------------------------------------------------------------------------


class OnTerminal:
    """The command on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "stream", "init", *words]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
            # Control-C is for the program whose controlling terminal it is typed on.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self.shown, self.seen = "", 0

    def wait_for(self, text: str) -> None:
        while text not in self.shown[self.seen :]:
            self.shown += self._read()
        self.seen = len(self.shown)

    def _read(self) -> str:
        assert select.select([self.ours], [], [], PATIENCE_S)[0], self.shown
        return os.read(self.ours, 4096).decode()

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def end(self) -> int:
        def rest() -> Iterator[str]:
            while True:
                try:
                    yield self._read()
                except OSError:  # the other end is closed
                    return

        self.shown += "".join(rest())
        code = self.process.wait(PATIENCE_S)
        os.close(self.ours)
        return code


@pytest.fixture
def on_terminal() -> Iterator[Callable[..., OnTerminal]]:
    started: list[OnTerminal] = []

    def start(*words: str) -> OnTerminal:
        started.append(OnTerminal(*words))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait(PATIENCE_S)


@pytest.mark.slow
def test_on_a_terminal_a_password_is_not_shown(on_terminal: Callable[..., OnTerminal]) -> None:
    terminal = on_terminal()
    for question, answer in (
        ("its id", "gate\n"),
        ("its address", "rtsp://192.0.2.11/s1\n"),
        ("user name", "viewer\n"),
        ("password (is not shown)", "s3cret\n"),
        ("frames scored", "\n"),
        ("its id", "\n"),
        ("Try the connections", "n\n"),
    ):
        terminal.wait_for(question)
        terminal.type(answer)
    assert terminal.end() == 0
    assert "s3cret" not in terminal.shown
    assert "CAMERA_GATE_PASSWORD=s3cret" in Path("spade-stream.env").read_text()


@pytest.mark.slow
def test_control_c_at_a_question_ends_it_at_once(on_terminal: Callable[..., OnTerminal]) -> None:
    terminal = on_terminal()
    terminal.wait_for("its id")
    for _ in range(20):  # Python misses one that comes just before it begins to wait for input
        terminal.type("\x03")
        with suppress(subprocess.TimeoutExpired):
            terminal.process.wait(2)
            break
    assert terminal.end() == 2
    assert "nothing was written" in terminal.shown
    assert list(Path().iterdir()) == []
