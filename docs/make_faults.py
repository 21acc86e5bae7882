"""Writes ``faults.md``: every fault that a test tries, from the marks of the tests, so that the page promises no more
than is tested.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE / "faults.md"
TESTS = HERE.parent / "tests"

HEAD = """\
# The fault matrix

What is done to a running system, and what is promised then. Each row is at least one test; `make test` runs most of
them, `make faults` all of them, the long ones too, and prints this table with the outcome of each. `make soak` does
many of these things to one run at random times, for as long as you like: [soak.md](soak.md).

This page is made from the tests (`make docs`).

| what happens | what is expected |
|---|---|
"""


def page() -> str:
    """The whole page; rows by name, capitals and small letters alike."""
    rows = sorted(set(found()), key=lambda row: (row[0].lower(), row[1]))
    return HEAD + "".join(f"| {what} | {expected} |\n" for what, expected in rows)


def found() -> Iterator[tuple[str, str]]:
    """What every ``pytest.mark.fault(what, expected)`` says."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                what, expected = (ast.literal_eval(argument) for argument in node.args)
                yield what, expected


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
