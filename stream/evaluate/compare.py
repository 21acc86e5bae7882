"""``eval --compare``: runs side by side, as a table on standard output and as ``compare.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from stream.durable import write_durably
from stream.errors import UsageError
from stream.evaluate.names import FIGURES, Figure, shown
from stream.evaluate.report import CURVES, curve_card, line_of, warning
from stream.evaluate.style import MOST_LINES, STYLE
from stream.report.page import data_table, document

METRICS, CURVES_FILE, PAGE = "metrics.json", "curves.json", "compare.html"


@dataclass(frozen=True, slots=True)
class Run:
    """One run, read back."""

    label: str
    figures: Mapping[str, Any]
    curves: Mapping[str, Any]


def run_compare(
    folders: Sequence[Path], *, out: Path | None, mixed: bool, title: str = "Comparison", text: Sequence[str] = ()
) -> int:
    """Prints the table and writes the page (into the first folder's parent, unless OUT is given).

    Args:
        folders: of runs, at least two.
        out: folder for the page.
        mixed: runs of different frames are compared all the same, with a warning.
        title: of the page.
        text: lines under it.

    Raises:
        UsageError: a folder holds no run, or the runs do not fit each other.
    """
    if len(folders) < 2:
        raise UsageError("--compare: name the folders of two runs or more")
    runs = [_read(folder, label) for folder, label in zip(folders, _labels(folders), strict=True)]
    differences = differing_frames(runs)
    if differences and not mixed:
        raise UsageError(
            f"--compare: {'; '.join(differences)}: such figures say nothing of each other (--mixed if you must)"
        )
    for line in (lines := [*differences, *_incomplete(runs)]):
        print(f"warning: {line}")
    print(text_table(runs))
    page = (folders[0].parent if out is None else out) / PAGE
    write_durably(page, render(runs, title=title, text=text, warnings=lines).encode("utf-8", errors="replace"))
    print(f"look at {page}")
    return 0


def differing_frames(runs: Sequence[Run]) -> list[str]:
    """Why runs cannot be compared: each that is not of the first one's frames, in words."""
    first, found = runs[0], []
    for run in runs[1:]:
        if run.figures["dataset"] != first.figures["dataset"]:
            found.append(f"{run.label} is of {run.figures['dataset']}, {first.label} of {first.figures['dataset']}")
        elif run.figures["settings"]["frames_digest"] != first.figures["settings"]["frames_digest"]:
            counts = f"{run.figures['frames']} and {first.figures['frames']}"
            found.append(f"{run.label} and {first.label} are of different frames ({counts})")
    return found


def text_table(runs: Sequence[Run]) -> str:
    """One line a figure, one column a run; differences from the first run in brackets."""
    width = max(22, *(len(run.label) + 2 for run in runs))
    name = max(len(figure.label) for figure in FIGURES)
    lines = [f"{'':{name}}" + "".join(f"{run.label:>{width}}" for run in runs)]
    for figure in FIGURES:
        values = [run.figures.get(figure.key) for run in runs]
        if any(value is not None for value in values):
            cells = [_with_difference(value, values[0], figure, i == 0) for i, value in enumerate(values)]
            lines.append(f"{figure.label:{name}}" + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(lines)


def render(runs: Sequence[Run], *, title: str, text: Sequence[str], warnings: Sequence[str]) -> str:
    """The page."""
    first = runs[0].figures
    lines = (f"{first['dataset']}, {first['frames']:,} frames.", *text)
    header = "".join(f"<p>{escape(line)}</p>" for line in lines)
    sections = (
        f"<header><h1>{escape(title)}</h1>{header}{warning(warnings)}</header>",
        _table(runs),
        _bars(runs),
        _curves(runs),
        _clips(runs),
    )
    return document(title, sections, style=STYLE)


def _read(folder: Path, label: str) -> Run:
    values = []
    for name in (METRICS, CURVES_FILE):
        try:
            values.append(json.loads((folder / name).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise UsageError(f"--compare {folder}: holds no finished run of 'eval' ({name}: {error})") from None
    return Run(label, values[0], values[1])


def _labels(folders: Sequence[Path]) -> list[str]:
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _incomplete(runs: Sequence[Run]) -> list[str]:
    return [f"{run.label} is not complete: {problem}" for run in runs for problem in run.figures["incomplete"]]


def _with_difference(value: float | None, first: float | None, figure: Figure, is_first: bool) -> str:
    text = shown(value, figure.digits)
    if is_first or value is None or first is None:
        return text
    return f"{text} ({value - first:+,.{figure.digits}f})"


def _table(runs: Sequence[Run]) -> str:
    rows = ""
    for figure in FIGURES:
        values = [run.figures.get(figure.key) for run in runs]
        if all(value is None for value in values):
            continue
        cells = "".join(
            f'<td class="number">{_with_difference(value, values[0], figure, i == 0)}</td>'
            for i, value in enumerate(values)
        )
        rows += f"<tr><td>{figure.label}</td>{cells}</tr>"
    columns = [("Figure", ""), *((escape(run.label), "number") for run in runs)]
    return f"<section><h2>Figures</h2>{data_table(columns, rows)}</section>"


def _bars(runs: Sequence[Run]) -> str:
    rows = ""
    for figure in FIGURES:
        if not figure.is_fraction or all(run.figures.get(figure.key) is None for run in runs):
            continue
        for position, run in enumerate(runs):
            value = run.figures.get(figure.key)
            name = f'<td rowspan="{len(runs)}">{figure.label}</td>' if position == 0 else ""
            bar = (
                "" if value is None else f'<span class="bar b{position % MOST_LINES}" style="width:{value:.1%}"></span>'
            )
            rows += (
                f'<tr>{name}<td>{escape(run.label)}</td><td class="wide">{bar}</td>'
                f'<td class="number">{shown(value, figure.digits)}</td></tr>'
            )
    table = data_table((("Figure", ""), ("Run", ""), ("0 to 1", ""), ("", "number")), rows)
    return f'<section class="bars"><h2>Bars</h2>{table}</section>'


def _curves(runs: Sequence[Run]) -> str:
    cards = []
    for key, title, x_label, y_label, x_max in CURVES:
        lines = [line_of(run.label, run.curves[key]) for run in runs[:MOST_LINES] if run.curves.get(key)]
        if lines:
            cards.append(curve_card(title, lines, x_label=x_label, y_label=y_label, x_max=x_max))
    more = f"<p class='soft small'>The first {MOST_LINES} runs.</p>" if len(runs) > MOST_LINES else ""
    return f'<section><h2>Curves</h2>{more}<div class="curves-row">{"".join(cards)}</div></section>' if cards else ""


def _clips(runs: Sequence[Run]) -> str:
    """Frame AUC of every clip: where the runs differ."""
    tables = [{(row["scene"], row["clip"]): row["frame_auc"] for row in run.figures["per_clip"]} for run in runs]
    rows = ""
    for scene, clip in tables[0]:
        values = [table.get((scene, clip)) for table in tables]
        if any(value is not None for value in values):
            cells = "".join(f'<td class="number">{shown(value, 3)}</td>' for value in values)
            rows += f"<tr><td>{escape(scene)}</td><td>{escape(clip)}</td>{cells}</tr>"
    columns = [("Scene", ""), ("Clip", ""), *((escape(run.label), "number") for run in runs)]
    return f"<section><h2>Frame AUC of each clip</h2>{data_table(columns, rows)}</section>" if rows else ""
