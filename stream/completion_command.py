"""What ``completion`` does: prints what a shell needs to complete commands, options and files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stream.cli_arguments import add_command
from stream.stopping import StopSignal

SHELLS = ("bash", "zsh", "tcsh")

_HOW = """\
to try it in this shell, and to keep it:
  bash: eval "$(spade-stream completion bash)"
        spade-stream completion bash > ~/.local/share/bash-completion/completions/spade-stream
  zsh:  spade-stream completion zsh > FOLDER/_spade-stream    with FOLDER in $fpath, before compinit
  tcsh: spade-stream completion tcsh > ~/.spade-stream.tcsh   and 'source ~/.spade-stream.tcsh' in ~/.tcshrc"""


def add_completion(groups: Any, parser: Callable[[], argparse.ArgumentParser]) -> None:
    """Adds ``completion`` to the commands.

    Args:
        groups: what ``add_subparsers`` returned.
        parser: makes the whole program's parser, this command included.
    """

    def completion(arguments: argparse.Namespace, stop: StopSignal) -> int:
        print(script(parser(), arguments.shell))
        return 0

    command = add_command(groups, "completion", completion, "print the script that completes commands in a shell", _HOW)
    command.add_argument("shell", choices=SHELLS)


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion script of a program.

    Args:
        parser: of the program.
        shell: one of SHELLS.
    """
    import shtab  # here: no other command needs it

    for action in arguments_of(parser):
        if action.type is Path or action.dest == "source":
            action.complete = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE  # type: ignore[attr-defined]
    text: str = shtab.complete(parser, shell)
    return text


def arguments_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of its commands, their commands included."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from arguments_of(command)
        else:
            yield action
