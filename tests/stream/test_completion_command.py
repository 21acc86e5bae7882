"""``spade-stream completion``: the scripts are valid, and a real bash completes with them."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import pytest

from stream import cli
from stream.completion_command import SHELLS, arguments_of, script

BASH = shutil.which("bash")

_COMPLETE = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMP_LINE="$*"
COMP_POINT=${#COMP_LINE}
_shtab_spade_stream
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script for bash in a file."""
    file = tmp_path_factory.mktemp("completion") / "spade-stream"
    file.write_text(script(cli._parser(), "bash"))
    return file


def completed(bash_script: Path, *words: str, cwd: Path) -> set[str]:
    """What a real bash offers for the last word."""
    assert BASH is not None
    done = subprocess.run(
        [BASH, "--norc", "--noprofile", "-c", _COMPLETE, "complete", bash_script, "spade-stream", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_a_script_that_its_own_parser_accepts(shell: str, tmp_path: Path) -> None:
    file = tmp_path / "script"
    file.write_text(script(cli._parser(), shell))
    assert "spade-stream" in file.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here to check it with")
    assert subprocess.run([shell, "-n", file], capture_output=True, text=True, check=False).stderr == ""


def test_bash_completes_a_command(bash_script: Path, tmp_path: Path) -> None:
    assert completed(bash_script, "enr", cwd=tmp_path) == {"enroll"}
    assert {"run", "replay", "read"} <= completed(bash_script, "r", cwd=tmp_path)


def test_bash_completes_an_option_and_none_that_is_internal(bash_script: Path, tmp_path: Path) -> None:
    assert completed(bash_script, "enroll", "--un", cwd=tmp_path) == {"--until-covered"}
    assert "--supervisor" not in bash_script.read_text()
    assert "--pulse" not in bash_script.read_text()


def test_bash_completes_an_action_of_a_command(bash_script: Path, tmp_path: Path) -> None:
    assert completed(bash_script, "gallery", "ver", cwd=tmp_path) == {"verify", "versions"}


def test_bash_completes_the_name_of_a_configuration(bash_script: Path, tmp_path: Path) -> None:
    (tmp_path / "campus.yaml").touch()
    (tmp_path / "other.yaml").touch()
    assert completed(bash_script, "check", "cam", cwd=tmp_path) == {"campus.yaml"}


def test_where_a_folder_is_wanted_no_file_is_offered(bash_script: Path, tmp_path: Path) -> None:
    (tmp_path / "galleries").mkdir()
    (tmp_path / "gates.txt").touch()
    assert completed(bash_script, "gallery", "info", "ga", cwd=tmp_path) == {"galleries"}


def test_it_finds_the_arguments_of_commands_within_commands() -> None:
    parser = argparse.ArgumentParser()
    inner = parser.add_subparsers().add_parser("a").add_subparsers().add_parser("b")
    inner.add_argument("deep")
    assert "deep" in {action.dest for action in arguments_of(parser)}


def test_the_command_prints_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bash"]) == 0
    assert capsys.readouterr().out == script(cli._parser(), "bash") + "\n"
