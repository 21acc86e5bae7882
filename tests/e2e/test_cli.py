"""The command line itself: what it says of itself, and what it does with words that it does not know."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stream import __version__

from .helpers import spade

ARGUMENTS = {
    "demo": ("--out", "--seed"),
    "init": ("CONFIG", "--yes", "--camera", "--fps", "--try", "--force"),
    "check": ("CONFIG",),
    "enroll": ("CONFIG", "--camera", "--source", "--start", "--seconds", "--minutes", "--until-covered", "--capacity"),
    "run": ("CONFIG",),
    "read": ("CONFIG", "--camera"),
    "score": ("CONFIG",),
    "feed": ("CONFIG",),
    "sink": ("CONFIG", "--name"),
    "replay": ("SOURCE", "--gallery", "--out", "--fps", "--start", "--seconds", "--recorded-at", "--weights", "--maps"),
    "eval": ("--dataset", "--root", "--out", "--method", "--every", "--galleries", "--table", "--compare"),
    "alerts": ("--connect", "--since", "--name", "--no-follow", "--events", "--save"),
    "status": ("--connect", "--json"),
    "gallery info": ("DIR", "--json", "--sheet"),
    "gallery verify": ("DIR",),
    "gallery versions": ("DIR", "--json"),
    "gallery use": ("DIR", "VERSION"),
    "gallery prune": ("DIR", "--keep", "--dry-run"),
    "completion": ("bash", "zsh", "tcsh"),
    "outbox info": ("CONFIG", "--json"),
    "outbox prune": ("CONFIG", "--include-unacknowledged"),
    "outbox forget": ("CONFIG", "NAME"),
    "gallery add": ("DIR", "SOURCE", "--start", "--seconds", "--fps", "--capacity", "--weights", "--device"),
}


def test_the_version_is_that_of_the_package() -> None:
    done = spade("--version")
    assert (done.code, done.out.strip()) == (0, f"spade-stream {__version__}")


def test_help_without_a_command_names_all_commands_and_the_way_to_a_first_run() -> None:
    done = spade("--help")
    assert done.code == 0, done.report
    for command in ARGUMENTS:
        assert re.search(rf"^ {{4}}{command.split()[0]}( |$)", done.out, re.MULTILINE), command
    assert "spade-stream demo" in done.out


@pytest.mark.slow
@pytest.mark.parametrize("command", ARGUMENTS)
def test_help_of_a_command_names_its_arguments(command: str) -> None:
    done = spade(*command.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert f"usage: spade-stream {command}" in done.out
    for argument in ARGUMENTS[command]:
        assert argument in done.out
    assert "--supervisor" not in done.out, "meant for the programs themselves"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "COMMAND"),
        (["watch"], "'watch'"),
        (["enroll"], "CONFIG"),
        (["enroll", "site.yaml", "--seconds", "60", "--minutes", "1"], "--minutes"),
        (["gallery", "add", "yard"], "SOURCE"),
        (["gallery", "prune", "yard", "--keep", "0"], "'0'"),
        (["replay", "clip.mp4", "--gallery", "g"], "--out"),
        (["replay", "clip.mp4", "--gallery", "g", "--out", "o", "--fps", "0"], "'0'"),
        (["alerts", "--since", "-1"], "'-1'"),
        (["alerts", "--since", "yesterday"], "'yesterday'"),
        (["outbox", "forget", "site.yaml"], "NAME"),
        (["check", "site.yaml", "--log-level", "loud"], "'loud'"),
    ],
)
def test_wrong_words_are_named_with_the_usage(words: list[str], said: str) -> None:
    done = spade(*words)
    assert done.code == 2, done.report
    assert done.out == ""
    assert done.err.startswith("usage: spade-stream")
    assert said in done.err
    assert "Traceback" not in done.err


def test_the_installed_command_is_the_same_program() -> None:
    command = shutil.which("spade-stream", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip(f"no spade-stream beside {sys.executable}: the package is not installed there")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=120)
    assert done.stdout == spade("--version").out
