"""``report.html`` of an evaluation: figures, curves, every clip over time, and the frames that say most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from stream.durable import write_durably
from stream.evaluate.figures import events_of
from stream.evaluate.names import FIGURES, shown
from stream.evaluate.pictures import Shown
from stream.evaluate.plan import Plan
from stream.evaluate.scored import ScoredClip, ScoredScene
from stream.evaluate.style import STYLE
from stream.report.charts import CurveLine, count, curves_svg, number, timeline_svg
from stream.report.model import Timeline
from stream.report.page import data_table, document, figure, tiles

_TILES = (
    "frame_auc_micro",
    "pixel_auc",
    "pro",
    "rbdc",
    "tbdc",
    "event_recall",
    "false_alerts_per_hour",
    "median_delay",
)

_KINDS = {
    "missed": ("Missed most", "anomalous frames with the lowest scores"),
    "false": ("Most falsely odd", "normal frames with the highest scores"),
    "found": ("Found best", "anomalous frames with the highest scores"),
    "highest": ("Oddest", "frames with the highest scores; nothing is labelled here"),
}

CURVES = (
    ("frame_roc", "Frames: ROC", "false positive rate", "true positive rate", 1.0),
    ("pixel_roc", "Pixels: ROC", "false positive rate", "true positive rate", 1.0),
    ("pro", "Regions: PRO", "false positive rate of pixels", "mean overlap", 0.3),
    ("rbdc", "Regions: RBDC", "false regions per frame", "regions detected", 1.0),
    ("tbdc", "Tracks: TBDC", "false regions per frame", "tracks detected", 1.0),
)
"""(key of ``curves.json``, title, x, y, end of x) of every chart."""


def write_page(
    path: Path,
    plan: Plan,
    scenes: Sequence[ScoredScene],
    figures: Mapping[str, Any],
    curves: Mapping[str, Any],
    pictures: Sequence[Shown],
) -> None:
    """Writes the page.

    Args:
        path: the file.
        plan: what was evaluated.
        scenes: scored.
        figures: what ``metrics.json`` holds.
        curves: what ``curves.json`` holds.
        pictures: beside the page.
    """
    title = f"{figures['dataset']}: {figures['method']}"
    sections = (
        _header(title, plan, figures),
        _tiles(figures),
        _figures_table(figures),
        _published(plan, figures),
        _curves(curves),
        _timelines(plan, scenes),
        *(_pictures(kind, [p for p in pictures if p.kind == kind], path.parent) for kind in _KINDS),
        rows_table("Scenes", figures["per_scene"]) if len(scenes) > 1 else "",
        rows_table("Clips", figures["per_clip"]),
        _settings(figures),
        _notes(plan),
    )
    page = document(title, sections, style=STYLE)
    write_durably(path, page.encode("utf-8", errors="replace"))


def curve_card(title: str, lines: Sequence[CurveLine], *, x_label: str, y_label: str, x_max: float) -> str:
    """A chart of curves with its key."""
    keys = "".join(
        f'<span><svg height="8" viewBox="0 0 26 8"><path class="key l{position}" d="M0 4H26"/></svg>'
        f"{escape(line.label)}</span>"
        for position, line in enumerate(lines)
    )
    chart = curves_svg(lines, title=title, x_label=x_label, y_label=y_label, x_max=x_max)
    legend = f'<div class="keys">{keys}</div>' if len(lines) > 1 else ""
    return f'<article class="curve"><h3>{escape(title)}</h3>{chart}{legend}</article>'


def line_of(label: str, curve: Mapping[str, Sequence[float]]) -> CurveLine:
    """A curve as ``curves.json`` holds it."""
    return CurveLine(label, np.asarray(curve["x"], np.float64), np.asarray(curve["y"], np.float64))


def rows_table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with one line for each scene or clip, as ``metrics.json`` holds them."""
    if not rows:
        return ""
    columns = [(key.replace("_", " "), "" if key in ("scene", "clip") else "number") for key in rows[0]]
    lines = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{_cell(row[key])}</td>' for key, (_, kind) in zip(row, columns, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<section><h2>{escape(title)}</h2>{data_table(columns, lines)}</section>"


def warning(lines: Iterable[str]) -> str:
    """What a reader has to know before the figures; nothing where there is nothing."""
    return "".join(f'<p class="warning">{escape(line)}</p>' for line in lines)


def _header(title: str, plan: Plan, figures: Mapping[str, Any]) -> str:
    every = "" if plan.options.every == 1 else f", one of every {plan.options.every}"
    lines = (
        f"{count(figures['frames'], 'frame')} scored{every}, backbone {figures['backbone']}, "
        f"{plan.preprocess.side} x {plan.preprocess.side} pixels, {figures['gallery_frames']:,} gallery frames.",
        f"Made {figures['started_at'].replace('T', ' ').replace('Z', ' UTC')} in {figures['seconds']:.0f} s.",
        plan.dataset.citation,
    )
    text = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
    return f"<header><h1>{escape(title)}</h1>{text}{warning(figures['incomplete'])}</header>"


def _tiles(figures: Mapping[str, Any]) -> str:
    chosen = {figure.key: figure for figure in FIGURES}
    return tiles(
        (chosen[key].label, shown(figures[key], chosen[key].digits), chosen[key].meaning)
        for key in _TILES
        if figures[key] is not None
    )


def _figures_table(figures: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><td>{figure.label}</td><td class="number">{shown(figures[figure.key], figure.digits)}</td>'
        f'<td class="text soft">{figure.meaning}</td></tr>'
        for figure in FIGURES
    )
    table = data_table((("Figure", ""), ("Value", "number"), ("What it is", "")), rows)
    return f"<section><h2>All figures</h2>{table}</section>"


def _published(plan: Plan, figures: Mapping[str, Any]) -> str:
    if not plan.dataset.published:
        return ""
    labels = {figure.key: figure.label for figure in FIGURES}
    rows = "".join(
        f"<tr><td>{escape(row.method)}</td><td>{escape(labels.get(row.metric, row.metric))}</td>"
        f'<td class="number">{row.value:.3f}</td><td class="number">{shown(ours(figures, row.metric), 3)}</td>'
        f'<td class="text soft">{escape(row.source)}</td></tr>'
        for row in plan.dataset.published
    )
    columns = (("Method", ""), ("Figure", ""), ("Published", "number"), ("This run", "number"), ("Source", ""))
    return f"<section><h2>Beside what is published</h2>{data_table(columns, rows)}</section>"


def ours(figures: Mapping[str, Any], metric: str) -> float | None:
    """Ours beside a published figure: ``scene_mean.pro`` is a key within a key."""
    value: Any = figures
    for part in metric.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if isinstance(value, float) else None


def _curves(curves: Mapping[str, Any]) -> str:
    cards = []
    for key, title, x_label, y_label, x_max in CURVES:
        if curves[key] is None:
            continue
        lines = [line_of("raw" if key == "frame_roc" else title, curves[key])]
        if key == "frame_roc" and curves["frame_roc_causal"] is not None:
            lines.append(line_of("causally averaged", curves["frame_roc_causal"]))
        cards.append(curve_card(title, lines, x_label=x_label, y_label=y_label, x_max=x_max))
    return f'<section><h2>Curves</h2><div class="curves-row">{"".join(cards)}</div></section>' if cards else ""


def _timelines(plan: Plan, scenes: Sequence[ScoredScene]) -> str:
    if plan.dataset.kind == "images":
        return ""
    charts = "".join(_timeline(clip, scene.threshold) for scene in scenes for clip in scene.clips if len(clip.indices))
    legend = (
        '<p class="soft small legend">The highest pixel score of each frame; dashed: the threshold; shaded: what the '
        "labels call anomalous; bars: alerts, from when they were raised.</p>"
    )
    return f'<section><h2>Scores over time</h2>{legend}<div class="timelines many">{charts}</div></section>'


def _timeline(clip: ScoredClip, threshold: float | None) -> str:
    last = float(clip.times[-1])
    timeline = Timeline(
        name=clip.name,
        times=clip.times,
        scores=clip.peaks,
        threshold=0.0 if threshold is None else threshold,
        truth=tuple((f"event {i}", e.start, e.end) for i, e in enumerate(events_of(clip), start=1)),
        alerts=tuple(
            (f"alert {i}", min(alert.start, last), min(alert.end, last))
            for i, alert in enumerate(clip.alerts, start=1)
            if threshold is not None
        ),
    )
    facts = [f"peak {number(float(clip.peaks.max()))}"]
    if threshold is not None:
        facts += [f"threshold {number(threshold)}", count(len(clip.alerts), "alert")]
    return (
        f'<article class="timeline"><header><h3>{escape(clip.name)}</h3>'
        f'<p class="soft">{" · ".join(facts)}</p></header>{timeline_svg(timeline, {})}</article>'
    )


def _pictures(kind: str, pictures: Sequence[Shown], folder: Path) -> str:
    if not pictures:
        return ""
    title, meaning = _KINDS[kind]
    cards = "".join(
        f'<article class="card"><header><h3>{escape(p.title)}</h3>'
        f'<p class="soft small">{escape(p.caption)}</p></header>'
        f'<div class="strip">{_figure(p.frame, "frame", p, folder)}{_figure(p.heat, "scores", p, folder)}'
        f"{_figure(p.mask, 'mask', p, folder)}{_figure(p.truth, 'truth', p, folder)}"
        f"{_figure(p.normal, 'nearest normal frame', p, folder)}</div></article>"
        for p in pictures
    )
    return f'<section><h2>{title} <span class="soft">{meaning}</span></h2><div class="frames">{cards}</div></section>'


def _figure(picture: Path | None, caption: str, of: Shown, folder: Path) -> str:
    return figure(picture, folder, caption, f"{caption} of {of.title}", absent="none")


def _settings(figures: Mapping[str, Any]) -> str:
    facts = [(name, value) for name, value in figures["settings"].items()] + list(figures["versions"].items())
    rows = "".join(
        f'<tr><td>{escape(str(name))}</td><td class="text">{escape(_plain(value))}</td></tr>' for name, value in facts
    )
    table = data_table((("Setting", ""), ("Value", "")), rows)
    return (
        f"<section><h2>Settings</h2><details><summary>what this run was made with</summary>{table}</details></section>"
    )


def _notes(plan: Plan) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in plan.dataset.notes)
    return f'<section><h2>Notes</h2><ul class="notes">{items}</ul></section>' if items else ""


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return shown(value, 3)
    return shown(value, 0) if isinstance(value, int) or value is None else escape(str(value))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)
