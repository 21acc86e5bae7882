"""What ``init`` does: asks for cameras, tries them, and writes a first configuration with its file of secrets."""

from __future__ import annotations

import argparse
import getpass
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stream.cli_arguments import add_command, rate
from stream.config import parse_config
from stream.errors import SourceStalled, StreamError, UsageError
from stream.new_config import (
    SYNTHETIC,
    NewCamera,
    config_text,
    new_camera,
    next_commands,
    secrets_text,
)
from stream.redact import redact_text, redact_url
from stream.sources import check_source, open_source
from stream.stopping import StopSignal

DEFAULT_NAME = "spade-stream.yaml"
MAX_RATE = 240.0  # frames per second, as ``cameras[].fps`` allows
TRY_SECONDS = 15.0
"""Longest time for one camera: 5 s to answer, 5 s to the first frame, and what looking up its name takes."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """Asks a person. Tests put in answers of their own."""

    ask: Callable[[str], str] = input  # shows a question, returns the line; EOFError where there are no more
    ask_secret: Callable[[str], str] = getpass.getpass  # the same, and what is typed is not shown
    say: Callable[[str], None] = print  # shows a line


def add_init(groups: Any) -> None:
    """Adds ``init`` to the commands."""
    command = add_command(
        groups,
        "init",
        init,
        "ask for cameras and write a first configuration",
        "Asks for each camera's id, address and rate, and tries the connection if you like. Writes CONFIG, and\n"
        "beside it a file with the passwords (CONFIG's name with .env, readable by you alone). Overwrites nothing\n"
        "without --force. For scripts: --yes --camera ID=URL, as often as there are cameras. Exits 1 if --try finds\n"
        "one that does not answer; the files are written all the same.",
    )
    command.add_argument(
        "config", type=Path, nargs="?", default=Path(DEFAULT_NAME), metavar="CONFIG", help=f"to write ({DEFAULT_NAME})"
    )
    command.add_argument("--yes", action="store_true", help="ask nothing; take --camera as it stands")
    command.add_argument(
        "--camera",
        action="append",
        default=[],
        metavar="ID=URL",
        help="a camera; others on this machine can read a command line, so write '${NAME}' for a password there",
    )
    command.add_argument("--fps", type=rate, default=5.0, help="frames scored per second, of each camera (5)")
    command.add_argument("--try", dest="probe", action="store_true", help="with --yes: try every connection")
    command.add_argument("--force", action="store_true", help="replace what is there")


def init(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Makes a configuration."""
    return run_init(arguments, Terminal(), interactive=sys.stdin.isatty())


def run_init(arguments: argparse.Namespace, terminal: Terminal, *, interactive: bool) -> int:
    """As :func:`init`, with what asks handed in.

    Raises:
        UsageError: a value cannot be used, a file is there already, or nobody is there to ask.
    """
    path: Path = arguments.config
    secrets_path = path.with_suffix(".env")
    _check_free(path, secrets_path, force=arguments.force)
    cameras: list[NewCamera] = []
    for text in arguments.camera:
        name, source = _given(text)
        taken = [camera.id for camera in cameras]
        cameras.append(new_camera(name, source, fps=arguments.fps, here=Path.cwd(), taken=taken))
    silent: list[str] = []
    if arguments.yes:
        if not cameras:
            raise UsageError("--yes asks nothing: name the cameras with --camera ID=URL")
        silent = _try_all(cameras, terminal) if arguments.probe else []
    elif not interactive:
        raise UsageError("init asks questions, and standard input is no terminal: use --yes with --camera ID=URL")
    else:
        cameras = _interview(cameras, terminal, arguments.fps)
    _write(cameras, path, secrets_path, terminal, force=arguments.force)
    return 1 if silent else 0


def _check_free(path: Path, secrets_path: Path, *, force: bool) -> None:
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{path}: name the configuration .yaml; its passwords go into a file beside it, with .env")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: is no folder; make it first")
    for file in (path, secrets_path):
        if file.exists() and not force:
            raise UsageError(f"{file} is there already: --force replaces it, or give another name")


def _given(text: str) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    if not equals or not source:
        raise UsageError(f"--camera {redact_url(text)!r}: must be ID=URL, as gate=rtsp://192.0.2.11/stream1")
    check_source(_expanded(source))
    return name, source


def _interview(cameras: Sequence[NewCamera], terminal: Terminal, fps: float) -> list[NewCamera]:
    # Stopping cleanly, as the other commands do, would wait for an answer first.
    before = signal.getsignal(signal.SIGINT)
    with suppress(ValueError):  # not in the main thread: nothing to take over
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return _ask_for_cameras(cameras, terminal, fps)
    except (EOFError, KeyboardInterrupt):
        terminal.say("")
        raise UsageError("the questions were broken off; nothing was written") from None
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGINT, before)


def _ask_for_cameras(given: Sequence[NewCamera], terminal: Terminal, fps: float) -> list[NewCamera]:
    terminal.say("Cameras, one after the other. An empty line ends the list.")
    cameras = list(given)
    while camera := _ask_for_camera(cameras, terminal, fps):
        cameras.append(camera)
    if not cameras:
        cameras.append(_without_cameras(terminal, fps))
    if _yes(terminal, "Try the connections now?"):
        silent = _try_all(cameras, terminal)
        if silent and not _yes(terminal, f"Write the configuration all the same ({', '.join(silent)} did not answer)?"):
            raise UsageError("nothing was written; call init again when the cameras answer")
    return cameras


def _ask_for_camera(cameras: Sequence[NewCamera], terminal: Terminal, fps: float) -> NewCamera | None:
    taken = [camera.id for camera in cameras]
    while name := terminal.ask(f"Camera {len(cameras) + 1}, its id (as north-gate): ").strip():
        try:
            new_camera(name, "0", here=Path.cwd(), taken=taken)  # before more is asked about it
            source = _ask_for_source(terminal)
            return new_camera(name, source, fps=_ask_for_rate(terminal, fps), here=Path.cwd(), taken=taken)
        except StreamError as error:
            terminal.say(f"  {error}")
    return None


def _ask_for_source(terminal: Terminal) -> str:
    """An address with its credentials. Leaving the password out of it keeps it from the screen."""
    source = terminal.ask("  its address (rtsp://HOST/PATH without the password, a file, a webcam's number): ").strip()
    check_source(_expanded(source))
    scheme, mark, rest = source.partition("://")
    if not mark or "${" in source or "@" in rest or redact_url(source) != source:
        return source
    user = terminal.ask("  user name (empty: none): ").strip()
    if not user:
        return source
    password = terminal.ask_secret("  password (is not shown): ")
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"


def _ask_for_rate(terminal: Terminal, fps: float) -> float:
    while text := terminal.ask(f"  frames scored per second ({fps:g}): ").strip():
        try:
            if (value := rate(text)) <= MAX_RATE:
                return value
            terminal.say(f"  {text!r}: must be {MAX_RATE:g} at most")
        except argparse.ArgumentTypeError as error:
            terminal.say(f"  {error}")
    return fps


def _without_cameras(terminal: Terminal, fps: float) -> NewCamera:
    terminal.say("No camera? Then take one of these:")
    terminal.say("  1  a webcam of this machine\n  2  a rendered campus scene, to try it")
    choice = terminal.ask("1 or 2 (2): ").strip()
    if choice == "1":
        number = terminal.ask("  number of the webcam (0): ").strip() or "0"
        check_source(number)
        return new_camera("webcam", number, fps=fps, here=Path.cwd())
    return NewCamera("campus", SYNTHETIC, fps)


def _yes(terminal: Terminal, question: str) -> bool:
    return terminal.ask(f"{question} [Y/n] ").strip().lower() in ("", "y", "yes")


def _try_all(cameras: Sequence[NewCamera], terminal: Terminal) -> list[str]:
    """Opens every camera for one frame, and says what came of it. Returns the ids of those that failed."""
    failed = []
    for camera in cameras:
        try:
            terminal.say(f"  {camera.id}: {probe(_expanded(camera.source, camera.secrets))}")
        except StreamError as error:
            terminal.say(f"  {camera.id}: {redact_text(str(error), camera.secrets.values())}")
            failed.append(camera.id)
    return failed


def probe(source: str, *, seconds: float = TRY_SECONDS) -> str:
    """What one frame of a source says of it: size and rate, in words.

    Args:
        source: to open.
        seconds: longest time to wait, whatever hangs.

    Raises:
        StreamError: it gives none.
    """
    found: list[str | BaseException] = []

    def look() -> None:
        try:
            found.append(_first_frame(source))
        except Exception as error:
            found.append(error)

    # A thread, and one that nobody waits for: looking up a host's name cannot be given a time limit.
    thread = threading.Thread(target=look, daemon=True, name="probe")
    thread.start()
    thread.join(seconds)
    outcome = found[0] if found else SourceStalled(f"{redact_url(source)}: no answer within {seconds:g} s")
    if isinstance(outcome, StreamError):
        raise outcome
    if isinstance(outcome, BaseException):
        raise StreamError(f"{redact_url(source)}: {type(outcome).__name__}: {redact_text(str(outcome), [source])}")
    return outcome


def _first_frame(source: str) -> str:
    opened = open_source(source)
    try:
        next(iter(opened.frames()))
        info = opened.info
        rate_in_words = f", {info.fps:g} frames/s" if info.fps else ""
        return f"answers, {info.width} x {info.height}{rate_in_words}"
    except StopIteration:
        raise SourceStalled(f"{redact_url(source)}: holds no frame") from None
    finally:
        opened.close()


def _expanded(source: str, secrets: Any = None) -> str:
    values = {**os.environ, **(secrets or {})}
    for name, value in values.items():
        source = source.replace(f"${{{name}}}", value)
    return source


def _write(cameras: Sequence[NewCamera], path: Path, secrets_path: Path, terminal: Terminal, *, force: bool) -> None:
    secrets = {name: value for camera in cameras for name, value in camera.secrets.items()}
    text = config_text(cameras, name=path.name, secrets_name=secrets_path.name)
    unset = dict.fromkeys(_named_in(cameras), "x")  # the user's own variables may be set later
    parse_config(text, where=str(path), base=path.resolve().parent, environment={**unset, **os.environ, **secrets})
    if secrets:
        _put(secrets_path, secrets_text(cameras), force=force, mode=0o600)
    _put(path, text, force=force, mode=0o644)
    terminal.say(f"wrote {path}" + (f", and {secrets_path} with the passwords (private)" if secrets else ""))
    terminal.say("next:")
    for line in next_commands(cameras, name=str(path), secrets_name=str(secrets_path)):
        terminal.say(f"  {line}")
    if secrets:
        terminal.say(f"under systemd, instead of the first line: EnvironmentFile={secrets_path.resolve()}")


def _named_in(cameras: Sequence[NewCamera]) -> list[str]:
    return [part.partition("}")[0] for camera in cameras for part in camera.source.split("${")[1:]]


def _put(path: Path, text: str, *, force: bool, mode: int) -> None:
    """Writes a file that is private from its first byte where it is to be; replaces one only with ``force``."""
    target = path.with_name(f".{path.name}.part") if force else path
    try:
        if force:
            target.unlink(missing_ok=True)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if force:
            target.replace(path)
    except FileExistsError:
        raise UsageError(f"{path} is there already: --force replaces it, or give another name") from None
    except OSError as error:
        raise StreamError(f"{path}: cannot be written: {error.strerror or error}") from None
