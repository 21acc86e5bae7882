"""Every command reads only what its own parser gives. ``argparse.Namespace`` tells no type checker, so this does."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stream import cli


def leaves(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Name and parser of every command that can be run."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for name, child in group.choices.items():
            yield from leaves(child, (*words, name))
    if not groups and words:  # 'bench' alone becomes 'bench stages' before anything is parsed
        yield " ".join(words), parser


COMMANDS = dict(leaves(cli._parser()))


def reads(function: Callable[..., Any], name: str = "", known: set[tuple[Any, str]] | None = None) -> dict[str, str]:
    """Attributes that a function, and those that it hands its arguments to, read of them; and which function does.

    Args:
        function: of the program.
        name: of the parameter that holds the arguments; empty: the first.
        known: functions that were looked at.
    """
    known = set() if known is None else known
    function = inspect.unwrap(function)
    name = name or next(iter(inspect.signature(function).parameters))
    if (function, name) in known:
        return {}
    known.add((function, name))
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    here = dict(vars(sys.modules[function.__module__]))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            here |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is(node.value, name):
            found.setdefault(node.attr, function.__qualname__)
        if not isinstance(node, ast.Call):
            continue
        given = [*enumerate(node.args), *((word.arg, word.value) for word in node.keywords)]
        for where, value in given:
            if not _is(value, name) or (isinstance(node.func, ast.Name) and node.func.id in ("getattr", "vars")):
                continue
            called = inspect.unwrap(_called(node.func, here))
            place = where if isinstance(where, str) else list(inspect.signature(called).parameters)[where]
            for attribute, by in reads(called, place, known).items():
                found.setdefault(attribute, by)
    return found


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _called(node: ast.expr, here: dict[str, Any]) -> Any:
    if isinstance(node, ast.Attribute):
        return getattr(_called(node.value, here), node.attr)
    assert isinstance(node, ast.Name), f"cannot follow the arguments into {ast.unparse(node)}"
    return here[node.id]


def unknown(parser: argparse.ArgumentParser) -> dict[str, str]:
    """What a command reads and its parser does not give."""
    given = {action.dest for action in parser._actions} | set(parser._defaults) | {"supervisor", "pulse"}
    return {name: by for name, by in reads(parser.get_default("run")).items() if name not in given}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_reads_only_what_its_parser_gives(command: str) -> None:
    assert unknown(COMMANDS[command]) == {}


def test_options_that_eval_reads_by_their_names_are_there() -> None:
    from stream.evaluate.options import PARAMETERS

    given = {action.dest for action in COMMANDS["eval"]._actions}
    assert {*PARAMETERS, "dataset", "root", "out"} <= given


def _deep(arguments: argparse.Namespace) -> object:
    return arguments.config


def _handler(arguments: argparse.Namespace, stop: object) -> object:
    return arguments.words, _deep(arguments)


def test_what_a_function_further_down_reads_is_found() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("words")
    parser.set_defaults(run=_handler)
    assert unknown(parser) == {"config": "_deep"}
