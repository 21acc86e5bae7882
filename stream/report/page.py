"""The report as one HTML file that needs no script and no network. Pictures stay beside it and are linked.

Pure but for :func:`write_report`. Every text is escaped, and the page's own policy forbids it to load anything but
pictures and videos from where it lies: a camera's or a data set's name can run nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from stream.messages import Alert, iso_time
from stream.report.charts import clock, count, number, timeline_svg
from stream.report.model import AlertCard, EventOutcome, Report, Timeline
from stream.report.style import STYLE

MANY_TIMELINES = 4  # from here on two beside each other where the window is wide enough
LISTED_REGIONS = 4  # of one alert; the rest is counted

_NONE = "\N{EN DASH}"  # stands where there is no value
_BY = "\N{MULTIPLICATION SIGN}"

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src 'self' file:; media-src 'self' file:; style-src 'unsafe-inline'">
"""


def write_report(path: Path, report: Report) -> None:
    """Writes the page to ``path`` (replacing it as a whole) and makes its folder. The same report gives the same bytes.

    Absolute picture paths become relative to that folder; the pictures themselves are neither read nor copied.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    # File names and labels may hold lone surrogates (undecodable bytes), which UTF-8 cannot carry.
    partial.write_bytes(render(report, path.parent).encode("utf-8", errors="replace"))
    partial.replace(path)


def render(report: Report, folder: Path) -> str:
    """The page as text; ``folder`` is where it will lie."""
    sections = (
        _header(report),
        tiles(report.summary),
        _timelines(report),
        _events(report.events),
        _alerts(report, folder),
        _notes(report.notes),
    )
    return document(report.title, sections)


def document(title: str, sections: Iterable[str], *, style: str = "") -> str:
    """A whole page of sections that are HTML already; ``style`` is added to the report's own."""
    body = "\n".join(section for section in sections if section)
    return (
        f"{_HEAD}<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _header(report: Report) -> str:
    lines = "".join(f"<p>{escape(line)}</p>" for line in report.subtitle)
    return f"<header><h1>{escape(report.title)}</h1>{lines}</header>"


def tiles(summary: Iterable[tuple[str, str, str]]) -> str:
    """The figures that matter most; ``summary`` is (label, value, note) of each."""
    cells = "".join(
        f'<div class="tile"><dt>{escape(label)}</dt><dd class="value">{escape(value)}</dd>'
        + (f'<dd class="note">{escape(note)}</dd>' if note else "")
        + "</div>"
        for label, value, note in summary
    )
    return f'<dl class="tiles">{cells}</dl>' if cells else ""


_LEGEND = """<div class="legend">
<span><svg width="26" height="12"><path class="score" d="M1 10L8 4L15 8L25 2"/></svg>score of each frame</span>
<span><svg width="26" height="12"><line class="threshold" x1="0" x2="26" y1="6" y2="6"/></svg>threshold</span>
%s<span><svg width="26" height="12"><rect class="alert" width="26" height="7" y="3" rx="2"/></svg>\
alert, with its number below</span>
<span>time from the beginning in min:s or h:min:s</span>
</div>"""
_TRUTH_LEGEND = (
    '<span><svg width="26" height="12"><rect class="truth" width="26" height="12"/></svg>true event</span>\n'
)


def _timelines(report: Report) -> str:
    if not report.timelines:
        return ""
    numbers = {card.alert.alert_id: index for index, card in enumerate(report.alerts, start=1)}
    legend = _LEGEND % (_TRUTH_LEGEND if any(t.truth for t in report.timelines) else "")
    many = " many" if len(report.timelines) >= MANY_TIMELINES else ""
    charts = "\n".join(_timeline(timeline, numbers) for timeline in report.timelines)
    return f'<section><h2>Scores over time</h2>{legend}<div class="timelines{many}">\n{charts}\n</div></section>'


def _timeline(timeline: Timeline, numbers: Mapping[str, int]) -> str:
    scores = timeline.scores[np.isfinite(timeline.scores)]
    peak = f"peak {number(float(scores.max()))}" if scores.size else "nothing scored"
    facts = [f"threshold {number(timeline.threshold)}", peak, count(len(timeline.alerts), "alert")]
    if unscored := timeline.scores.size - scores.size:
        facts.append(f"{count(unscored, 'frame')} not scored")
    return (
        f'<article class="timeline"><header><h3>{escape(timeline.name)}</h3>'
        f'<p class="soft">{" · ".join(facts)}</p></header>{timeline_svg(timeline, numbers)}</article>'
    )


def _events(events: tuple[EventOutcome, ...] | None) -> str:
    if events is None:
        return ""
    if not events:
        return "<section><h2>True events</h2>" + _empty("The recording is labelled and holds no event.") + "</section>"
    required = [event for event in events if event.required]
    found = sum(event.found for event in required)
    rows = "".join(_event_row(event) for event in events)
    table = data_table(
        (("Event", ""), ("Outcome", ""), ("Delay", "number"), ("Where", ""), ("From", "number"), ("To", "number")), rows
    )
    return f'<section><h2>True events <span class="soft">{found} of {len(required)} found</span></h2>{table}</section>'


def _event_row(event: EventOutcome) -> str:
    if event.found:
        outcome = '<span class="verdict good">✓ found</span>'
    elif event.required:
        outcome = '<span class="verdict bad">✕ missed</span>'
    else:
        outcome = '<span class="verdict soft">missed</span>'
    optional = "" if event.required else ' <span class="soft">(not counted)</span>'
    delay = _NONE if event.delay is None else f"{event.delay:.1f} s"
    start, end = clock(event.start, digits=1), clock(event.end, digits=1)
    return (
        f'<tr><td>{escape(event.label)}</td><td>{outcome}{optional}</td><td class="number">{delay}</td>'
        f'<td>{escape(event.timeline or _NONE)}</td><td class="number">{start}</td><td class="number">{end}</td></tr>'
    )


def _alerts(report: Report, folder: Path) -> str:
    if not report.alerts:
        return "<section><h2>Alerts</h2>" + _empty("No alerts.") + "</section>"
    where = {alert_id: (t.name, start, end) for t in report.timelines for alert_id, start, end in t.alerts}
    cards = "\n".join(
        _card(index, card, where.get(card.alert.alert_id), labelled=report.events is not None, folder=folder)
        for index, card in enumerate(report.alerts, start=1)
    )
    total = f'<span class="soft">{len(report.alerts)}</span>'
    return f'<section><h2>Alerts {total}</h2><div class="cards">\n{cards}\n</div></section>'


def _card(index: int, card: AlertCard, span: tuple[str, float, float] | None, *, labelled: bool, folder: Path) -> str:
    alert = card.alert
    caption = f"<p>{escape(card.caption)}</p>" if card.caption else ""
    return (
        f'<article class="card" id="alert-{index}"><header>'
        f"<h3>{index}. {escape(_place(alert))}</h3>{_verdict(card, labelled=labelled)}</header>"
        f'<p class="soft small">{escape(alert.alert_id)}</p>{caption}'
        f"{_pictures(card, folder)}{_facts(alert, span)}{_phases(card.phases)}</article>"
    )


def _place(alert: Alert) -> str:
    return " · ".join(dict.fromkeys(part for part in (alert.camera, alert.scene, alert.segment) if part))


def _verdict(card: AlertCard, *, labelled: bool) -> str:
    if card.matches is not None:
        return f'<p class="verdict good">✓ true event: {escape(card.matches)}</p>'
    if labelled:
        return '<p class="verdict bad">✕ false alert</p>'
    return '<p class="soft small">not labelled</p>'


def _pictures(card: AlertCard, folder: Path) -> str:
    alert = card.alert
    shown = f"frame {alert.frame_seq} of {_place(alert)}"
    side = figure(card.mask, folder, "Mask, white = anomalous", f"Anomaly mask of {shown}")
    if card.neighbour is not None:
        side += figure(card.neighbour, folder, "Nearest normal frame", f"Normal frame most like {shown}")
    if card.clip is not None:
        side += _video(card.clip, folder, poster=card.snapshot)
    main = figure(card.snapshot, folder, "Frame with the anomalous region", f"Anomalous region drawn into {shown}")
    return f'<div class="pictures">{main}<div class="side">{side}</div></div>'


def figure(
    picture: Path | None, folder: Path, caption: str, alternative: str, *, absent: str = "no picture kept"
) -> str:
    """A picture with its caption; ``absent`` stands where there is none."""
    content = (
        f'<div class="none">{escape(absent)}</div>'
        if picture is None
        else f'<img src="{link(picture, folder)}" alt="{escape(alternative)}" loading="lazy" decoding="async">'
    )
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def _video(clip: Path, folder: Path, *, poster: Path | None) -> str:
    """A video that is loaded only when somebody starts it."""
    shown = f' poster="{link(poster, folder)}"' if poster is not None else ""
    video = f'<video controls preload="none" src="{link(clip, folder)}"{shown}></video>'
    return f"<figure>{video}<figcaption>Before and during the alert</figcaption></figure>"


def link(picture: Path, folder: Path) -> str:
    """The URL of a picture, relative to the page's folder. Quoting also takes the colon away that would make a file
    name a scheme."""
    relative = os.path.relpath(picture, folder.absolute()) if picture.is_absolute() else picture
    return quote(os.fsencode(Path(relative).as_posix()))


def _facts(alert: Alert, span: tuple[str, float, float] | None) -> str:
    facts = [("Strongest frame", f"{_people_time(alert.frame_time)}, frame {alert.frame_seq}")]
    if span is not None:
        name, start, end = span
        facts.append(("Lasted", f"{clock(start, digits=1)} to {clock(end, digits=1)} in {name}"))
    times = f", {alert.score / alert.threshold:.2f} times" if alert.threshold > 0 else ", above"
    facts.append(("Score", f"{number(alert.score)}{times} the threshold of {number(alert.threshold)}"))
    facts.append((count(len(alert.regions), "region").capitalize(), _regions(alert)))
    if alert.neighbours:
        nearest = min(alert.neighbours, key=lambda neighbour: neighbour.distance)
        at = clock(nearest.media_time, digits=1)
        facts.append(("Nearest normal frame", f"{nearest.source} at {at}, distance {number(nearest.distance)}"))
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{rows}</dl>'


def _regions(alert: Alert) -> str:
    largest = sorted(alert.regions, key=lambda region: -region.area)
    listed = [f"{r.bbox[2]}{_BY}{r.bbox[3]} px at ({r.bbox[0]}, {r.bbox[1]})" for r in largest[:LISTED_REGIONS]]
    if len(largest) > LISTED_REGIONS:
        listed.append(f"and {len(largest) - LISTED_REGIONS} smaller")
    return "; ".join(listed) or _NONE


def _phases(phases: tuple[Alert, ...]) -> str:
    if len(phases) < 2:
        return ""
    rows = "".join(
        f'<tr><td>{escape(str(a.phase))}</td><td>{_people_time(a.frame_time)}</td><td class="number">{a.frame_seq}</td>'
        f'<td class="number">{number(a.score)}</td></tr>'
        for a in phases
    )
    table = data_table((("Phase", ""), ("Frame shown", ""), ("No.", "number"), ("Score", "number")), rows)
    return f"<details><summary>{count(len(phases), 'message')} of this alert</summary>{table}</details>"


def data_table(columns: Iterable[tuple[str, str]], rows: str) -> str:
    """A table that scrolls sideways where the window is too narrow; ``columns`` are (heading, class)."""
    heads = "".join(f'<th scope="col" class="{kind}">{heading}</th>' for heading, kind in columns)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _notes(notes: tuple[str, ...]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<section><h2>Notes</h2><ul class="notes">{items}</ul></section>' if items else ""


def _empty(text: str) -> str:
    return f'<div class="empty"><p>{escape(text)}</p></div>'


def _people_time(unix: float) -> str:
    return iso_time(unix).replace("T", " ").replace("Z", " UTC")
