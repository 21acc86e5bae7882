"""A benchmark's result as aligned plain text, and two of them side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stream.bench.result import BenchResult, Row
from stream.errors import UsageError

_GAP = "  "
_ABSENT = "-"


def table(result: BenchResult) -> str:
    """The whole result: a block for rows that have the same figures, then its summary, options and machine."""
    blocks = ["\n".join(_block(rows)) for rows in _by_figures(result.rows)]
    facts = [
        f"{title}: {in_words(values)}"
        for title, values in (("summary", result.summary), ("options", result.options), ("machine", result.machine))
        if values
    ]
    return "\n\n".join([*blocks, "\n".join(facts)] if facts else blocks)


def compare(old: BenchResult, new: BenchResult) -> str:
    """Two results side by side: first the ratios that each took within itself, then every figure.

    Raises:
        UsageError: they are of different benchmarks.
    """
    if old.kind != new.kind:
        raise UsageError(f"one result is of 'bench {old.kind}', the other of 'bench {new.kind}': nothing to compare")
    before, after = ({row.name: row for row in result.rows} for result in (old, new))
    both = [name for name in before if name in after]
    parts = [
        "\n".join(_differences(old, new)),
        _ratios(before, after, both),
        _figures(before, after, both),
        "\n".join(_alone(before, after)),
    ]
    return "\n\n".join(part for part in parts if part)


def in_words(values: Mapping[str, Any]) -> str:
    """A mapping in one line: ``name value, name value``; what is None is left out."""
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items() if value is not None)


def shown(value: float | None) -> str:
    """A figure with three digits that count; whole numbers in full."""
    if value is None or math.isnan(value):
        return _ABSENT
    if value == round(value) and abs(value) < 1e12:
        return str(round(value))
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}"


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Cells as columns: the first to the left, the others to the right; a last one of words (a note) to the left."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        _GAP.join(
            cell.ljust(width) if column == 0 or (column == len(line) - 1 and lines[0][-1] == "") else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _by_figures(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that share a heading together, in the order in which the headings first come."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.figures), []).append(row)
    return list(groups.values())


def _block(rows: Sequence[Row]) -> list[str]:
    names = tuple(rows[0].figures)
    has_ratio = any(row.ratio is not None for row in rows)
    heading = ["", *names, *(["ratio"] if has_ratio else []), ""]
    return aligned([heading, *([row.name, *_cells(row, names, has_ratio), row.note] for row in rows)])


def _cells(row: Row, names: Sequence[str], has_ratio: bool) -> Iterator[str]:
    yield from (shown(row.figures[name]) for name in names)
    if has_ratio:
        yield _ABSENT if row.ratio is None else f"{shown(row.ratio)} x {row.base}"


def _differences(old: BenchResult, new: BenchResult) -> Iterator[str]:
    for title, before, after in (("machines", old.machine, new.machine), ("options", old.options, new.options)):
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        if names:
            yield f"The {title} differ, so absolute figures do not compare; ratios within a run do:"
            yield from (f"  {name}: {_text(before.get(name))} | {_text(after.get(name))}" for name in names)


def _ratios(before: Mapping[str, Row], after: Mapping[str, Row], names: Sequence[str]) -> str:
    lines = [
        [name, str(before[name].base), shown(a), shown(b), shown(_quotient(a, b))]
        for name in names
        if (a := before[name].ratio) is not None
        and (b := after[name].ratio) is not None
        and before[name].base == after[name].base
    ]
    return "\n".join(aligned([["", "ratio to", "old", "new", "new/old"], *lines])) if lines else ""


def _figures(before: Mapping[str, Row], after: Mapping[str, Row], names: Sequence[str]) -> str:
    lines = [
        [name, figure, shown(a), shown(b), shown(_quotient(a, b))]
        for name in names
        for figure, a in before[name].figures.items()
        if figure in after[name].figures and not a is (b := after[name].figures[figure]) is None
    ]
    return "\n".join(aligned([["", "figure", "old", "new", "new/old"], *lines])) if lines else ""


def _alone(before: Mapping[str, Row], after: Mapping[str, Row]) -> Iterator[str]:
    for title, own, other in (("old", before, after), ("new", after, before)):
        if names := [name for name in own if name not in other]:
            yield f"only in the {title} result: {', '.join(names)}"


def _quotient(old: float | None, new: float | None) -> float | None:
    return None if old is None or new is None or old == 0 else new / old


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return f"({in_words(value)})"
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value)) or "none"
    return "none" if value is None else str(value)
