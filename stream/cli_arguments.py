"""What the parsers of all commands share: how a command is added, and how words become values."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stream.logs import FORMATS
from stream.stopping import StopSignal


def add_command(
    groups: Any, name: str, run: Callable[[argparse.Namespace, StopSignal], int], help_text: str, more: str = ""
) -> argparse.ArgumentParser:
    """Adds a command to what ``add_subparsers`` returned.

    Args:
        groups: see there.
        name: of the command, and of its process in the log.
        run: called with the parsed arguments.
        help_text: one line, in small letters and without a full stop.
        more: what its own help says after that.
    """
    parser: argparse.ArgumentParser = groups.add_parser(
        name,
        help=help_text,
        description=f"{help_text[:1].upper()}{help_text[1:]}.\n\n{more}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--log-level", default="info", choices=["debug", "info", "warning", "error"], help="least level logged (info)"
    )
    parser.add_argument(
        "--log-format", choices=FORMATS, help="how log lines look (as the configuration says, else human)"
    )
    parser.add_argument("--supervisor", type=int, help=argparse.SUPPRESS)  # process that must stay alive
    parser.add_argument("--pulse", type=int, help=argparse.SUPPRESS)  # pipe to it, for signs of life
    parser.set_defaults(run=run, process_name=name)
    return parser


def seconds_from_zero(text: str) -> float:
    """Seconds, 0 or more."""
    return _number(text, at_least=0.0, what="seconds, 0 or more")


def seconds(text: str) -> float:
    """Seconds, more than 0."""
    return _number(text, at_least=1e-3, what="seconds, more than 0")


def add_key(command: argparse.ArgumentParser) -> None:
    """Adds ``--key`` to a command that connects to the feed."""
    command.add_argument(
        "--key", type=Path, metavar="FILE", help="key to connect with, where the feed has keys ('spade-stream keys')"
    )


def add_progress(command: argparse.ArgumentParser) -> None:
    """Adds ``--progress`` to a command that the console starts, too."""
    command.add_argument(
        "--progress", choices=["bar", "json"], default="bar", help="json: tell of it in JSON lines on stdout (bar)"
    )


def add_origin(command: argparse.ArgumentParser) -> None:
    """Adds what says where a copy of a configuration came from, to a command that other processes start with one."""
    command.add_argument("--base", type=Path, help=argparse.SUPPRESS)  # what paths in it are relative to
    command.add_argument("--named", type=Path, help=argparse.SUPPRESS)  # the file that it is a copy of


def rate(text: str) -> float:
    """Frames per second, more than 0."""
    return _number(text, at_least=1e-3, what="frames per second, more than 0")


def count(text: str) -> int:
    """A whole number, 1 or more."""
    return _whole(text, at_least=1, what="a whole number, 1 or more")


def sequence_number(text: str) -> int:
    """A whole number, 0 or more."""
    return _whole(text, at_least=0, what="a sequence number, 0 or more")


def since(text: str) -> int | dict[str, int]:
    """A sequence number; or one for each outbox of a cluster, ``ID=N,ID=N``."""
    if "=" not in text:
        return sequence_number(text)
    pairs = [part.strip().rpartition("=") for part in text.split(",")]
    if not all(name and number for name, _, number in pairs):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a sequence number, or OUTBOX=N,OUTBOX=N of a cluster")
    return {name: sequence_number(number) for name, _, number in pairs}


def from_zero(text: str) -> float:
    """A number, 0 or more."""
    return _number(text, at_least=0.0, what="a number, 0 or more")


def names(text: str) -> tuple[str, ...]:
    """Names, separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def levels(text: str) -> tuple[int, ...]:
    """Whole numbers of 1 or more, separated by commas."""
    return tuple(count(name) for name in names(text))


def _whole(text: str, *, at_least: int, what: str) -> int:
    value = _number(text, at_least=at_least, what=what)
    if not value.is_integer():  # not cut off: nobody means 1 by 1.5
        raise argparse.ArgumentTypeError(f"{text!r}: must be {what}")
    return int(value)


def _number(text: str, *, at_least: float, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not at_least <= value < 1e12:
        raise argparse.ArgumentTypeError(f"{text!r}: must be {what}")
    return value
