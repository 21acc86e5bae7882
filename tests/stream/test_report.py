from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.messages import Alert, Neighbour, Phase, Region
from stream.report import AlertCard, EventOutcome, Report, Timeline, render, write_report
from stream.report.charts import LABELS, PLOT, clock, count, decimate, number, timeline_svg
from stream.report.style import STYLE

HERE = Path("/reports")
VOID = {"meta", "img"}
HOSTILE = """<script>alert('x')</script>&"""


class Page(HTMLParser):
    """A page taken apart: visible text, elements with their attributes; fails on an element that is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data + "\n"

    def all(self, tag: str, kind: str | None = None) -> list[dict[str, str]]:
        return [a for t, a in self.elements if t == tag and (kind is None or kind in a.get("class", "").split())]


def ramp(name: str = "gate", *, alerts: tuple[tuple[str, float, float], ...] = (("a1", 5.0, 8.0),)) -> Timeline:
    """Eleven seconds, score 0.0, 0.2, ... 2.0, threshold 1."""
    times = np.arange(11.0)
    return Timeline(name, times, times / 5, 1.0, truth=(("bicycle", 4.0, 9.0),), alerts=alerts)


def alert(phase: Phase = Phase.END, **changes: object) -> Alert:
    shown = Alert(
        seq=3,
        alert_id="a1",
        phase=phase,
        camera="gate",
        scene="day",
        started_at=1795468530.0,
        frame_time=1795468530.4,
        frame_seq=42,
        score=1.8,
        threshold=1.2,
        regions=(Region((1, 2, 3, 4), (), 9, 1.0), Region((10, 20, 30, 40), (), 900, 1.8)),
        neighbours=(Neighbour(5, 0.9, "Train009", 1.0), Neighbour(7, 0.25, "Train004", 62.5)),
    )
    return replace(shown, **changes)  # type: ignore[arg-type]


def card(**changes: object) -> AlertCard:
    made = AlertCard(alert(), (alert(Phase.START, score=1.3), alert()), Path("s.jpg"), Path("m.png"), Path("n.jpg"))
    return replace(made, **changes)  # type: ignore[arg-type]


def full() -> Report:
    return Report(
        title="Night shift",
        subtitle=("north gate", "campus method"),
        summary=(("Events found", "1 of 2", "one missed"), ("Frame AUC", "0.941", "")),
        timelines=(ramp(),),
        events=(
            EventOutcome("bicycle", 4.0, 9.0, True, True, 1.25, "gate"),
            EventOutcome("cart", 70.0, 75.5, False, True, None, "gate"),
        ),
        alerts=(card(matches="bicycle"),),
        notes=("Recorded at dusk.",),
    )


def page(report: Report) -> Page:
    return Page(render(report, HERE))


class TestPage:
    def test_it_shows_title_summary_events_and_notes(self) -> None:
        text = page(full()).text
        for part in ("Night shift", "north gate", "1 of 2", "0.941", "one missed", "Recorded at dusk.", "1 of 2 found"):
            assert part in text

    def test_it_loads_nothing_but_its_pictures_and_runs_nothing(self) -> None:
        html = render(full(), HERE)
        shown = Page(html)
        assert {tag for tag, _ in shown.elements}.isdisjoint({"script", "link", "iframe", "object"})
        assert not re.search(r"https?:|@import|url\(|\son\w+=", html)
        (policy,) = [m["content"] for m in shown.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; img-src 'self'")

    def test_every_text_is_escaped(self) -> None:
        report = Report(
            title=HOSTILE,
            subtitle=(HOSTILE,),
            summary=((HOSTILE, HOSTILE, HOSTILE),),
            timelines=(
                Timeline(
                    HOSTILE,
                    np.arange(3.0),
                    np.ones(3),
                    1.0,
                    truth=((HOSTILE, 0.0, 1.0),),
                    alerts=((HOSTILE, 1.0, 2.0),),
                ),
            ),
            events=(EventOutcome(HOSTILE, 0.0, 1.0, True, True, 0.1, HOSTILE),),
            alerts=(
                AlertCard(
                    alert(
                        alert_id=HOSTILE,
                        camera=HOSTILE,
                        scene=HOSTILE + "2",
                        segment=HOSTILE + "3",
                        neighbours=(Neighbour(1, 0.1, HOSTILE, 0.0),),
                    ),
                    (),
                    Path('"><script>.jpg'),
                    Path("javascript:alert(1)"),
                    None,
                    caption=HOSTILE,
                    matches=HOSTILE,
                ),
            ),
            notes=(HOSTILE,),
        )
        html = render(report, HERE)
        assert "<script" not in html
        assert "javascript:" not in html
        assert page(report).text.count(HOSTILE) > 12

    def test_without_anything_it_still_says_that_there_were_no_alerts(self) -> None:
        assert "No alerts." in page(Report("Quiet")).text

    def test_without_truth_there_is_no_table_of_events(self) -> None:
        shown = page(replace(full(), events=None))
        assert "True events" not in shown.text
        assert "not labelled" in page(replace(full(), events=None, alerts=(card(),))).text

    def test_a_labelled_recording_without_events_says_so(self) -> None:
        assert "holds no event" in page(replace(full(), events=())).text

    def test_events_are_found_missed_or_not_counted(self) -> None:
        events = (
            EventOutcome("bicycle", 4.0, 9.0, True, True, 1.25),
            EventOutcome("cart", 70.0, 75.5, False, True, None),
            EventOutcome("shadow", 80.0, 81.0, False, False, None),
            EventOutcome("crowd", 90.0, 95.0, True, False, 2.0),
        )
        lines = page(replace(full(), events=events)).text.split("\n")
        assert "1 of 2 found" in lines
        assert [lines.count(word) for word in ("✓ found", "✕ missed", "missed", "(not counted)")] == [2, 1, 1, 2]
        assert {"1.2 s", "1:10.0", "1:15.5"} <= set(lines)

    def test_many_timelines_are_set_beside_each_other(self) -> None:
        for amount, many in ((3, 0), (12, 1)):
            shown = page(replace(full(), timelines=tuple(ramp(f"clip {n}") for n in range(amount))))
            assert len(shown.all("div", "many")) == many
            assert len(shown.all("svg", "chart")) == amount

    def test_ids_are_unique_and_every_link_has_its_target(self) -> None:
        cards = (card(), card(alert=alert(alert_id="a2")))
        report = replace(full(), alerts=cards, timelines=(ramp(alerts=(("a2", 1.0, 2.0), ("a1", 5.0, 8.0))),))
        shown = page(report)
        ids = [attributes["id"] for _, attributes in shown.elements if "id" in attributes]
        assert ids == ["alert-1", "alert-2"]
        assert [a["href"] for a in shown.all("a")] == ["#alert-2", "#alert-1"]


class TestCard:
    def test_it_shows_when_score_regions_and_the_nearest_normal_frame(self) -> None:
        text = page(full()).text
        assert "2026-11-23 21:15:30.400 UTC, frame 42" in text
        assert "1.80, 1.50 times the threshold of 1.20" in text
        assert (
            "30\N{MULTIPLICATION SIGN}40 px at (10, 20); 3\N{MULTIPLICATION SIGN}4 px at (1, 2)" in text
        )  # the largest first
        assert "Train004 at 1:02.5, distance 0.25" in text
        assert "0:05.0 to 0:08.0 in gate" in text
        assert "2 messages of this alert" in text

    def test_more_regions_than_are_listed_are_counted(self) -> None:
        regions = tuple(Region((0, 0, n, n), (), n * n, 1.0) for n in range(1, 8))
        assert "and 3 smaller" in page(replace(full(), alerts=(card(alert=alert(regions=regions)),))).text

    @pytest.mark.parametrize(
        ("matches", "events", "verdict"),
        [("cart", (), "✓ true event: cart"), (None, (), "✕ false alert"), (None, None, "not labelled")],
    )
    def test_it_says_whether_it_is_true(
        self, matches: str | None, events: tuple[EventOutcome, ...] | None, verdict: str
    ) -> None:
        text = page(replace(full(), alerts=(card(matches=matches),), events=events)).text
        assert [v for v in ("✓ true event: cart", "✕ false alert", "not labelled") if v in text] == [verdict]

    def test_pictures_load_lazily_and_have_words(self) -> None:
        images = page(full()).all("img")
        assert [image["src"] for image in images] == ["s.jpg", "m.png", "n.jpg"]
        assert all(image["loading"] == "lazy" and "frame 42 of gate" in image["alt"] for image in images)

    def test_a_picture_that_was_not_kept_is_said_to_be_missing(self) -> None:
        shown = page(replace(full(), alerts=(card(snapshot=None, neighbour=None),)))
        assert [image["src"] for image in shown.all("img")] == ["m.png"]
        assert "no picture kept" in shown.text

    def test_a_clip_is_loaded_only_when_somebody_starts_it(self) -> None:
        (video,) = page(replace(full(), alerts=(card(clip=Path("a b.mp4")),))).all("video")
        assert (video["src"], video["poster"], video["preload"]) == ("a%20b.mp4", "s.jpg", "none")
        assert "controls" in video
        assert "media-src 'self' file:" in render(full(), HERE)

    def test_without_a_clip_there_is_no_video(self) -> None:
        assert page(full()).all("video") == []

    @pytest.mark.parametrize(
        ("picture", "link"),
        [
            (Path("/reports/pictures/a b.jpg"), "pictures/a%20b.jpg"),
            (Path("/elsewhere/a.jpg"), "../elsewhere/a.jpg"),
            (Path("100%#1?.jpg"), "100%25%231%3F.jpg"),
            (Path("caf\udce9.jpg"), "caf%E9.jpg"),  # a file name that is not UTF-8
        ],
    )
    def test_picture_links_are_relative_and_quoted(self, picture: Path, link: str) -> None:
        assert page(replace(full(), alerts=(card(snapshot=picture),))).all("img")[0]["src"] == link


class TestChart:
    def test_threshold_and_curve_share_the_scale(self) -> None:
        svg = timeline_svg(ramp(), {})  # from 0 to 2.2, a tenth above the peak of 2
        (line,) = Page(svg).all("line", "threshold")
        assert float(line["y1"]) == pytest.approx(LABELS + PLOT * (1 - 1 / 2.2), abs=0.05)
        points = re.findall(r"[ML]([\d.]+) ([\d.]+)", Page(svg).all("path", "score")[0]["d"])
        assert points[0] == ("0.0", f"{PLOT:.1f}")
        assert [float(v) for v in points[5]] == [500.0, pytest.approx(float(line["y1"]) - LABELS, abs=0.1)]

    def test_truth_is_shaded_and_labelled_where_it_was(self) -> None:
        shown = Page(timeline_svg(ramp(), {}))
        (shade,) = shown.all("rect", "truth")
        assert (shade["x"], shade["width"]) == ("40.000%", "50.000%")
        assert "bicycle" in shown.text.split("\n")

    def test_alerts_are_marked_under_the_plot_and_numbered_like_their_cards(self) -> None:
        shown = Page(timeline_svg(ramp(alerts=(("a1", 5.0, 8.0), ("a2", 10.0, 10.0))), {"a1": 7}))
        first, second = shown.all("rect", "alert")
        assert (first["x"], first["width"]) == ("50.000%", "30.000%")
        assert int(first["y"]) > LABELS + PLOT
        assert float(second["width"].rstrip("%")) > 0  # an alert of one moment is seen too
        assert [a["href"] for a in shown.all("a")] == ["#alert-7"]
        assert "7" in shown.text.split("\n")

    def test_time_axis_has_labels_and_the_page_names_its_unit(self) -> None:
        lines = Page(timeline_svg(ramp(), {})).text.split("\n")
        assert [line for line in lines if re.fullmatch(r"\d+:\d\d", line)] == [
            "0:00", "0:02", "0:04", "0:06", "0:08", "0:10",
        ]  # fmt: skip
        assert "min:s" in page(full()).text

    @pytest.mark.parametrize("span", [0.05, 1.0, 59.0, 3_600.0, 90_000.0, 40 * 86_400.0])
    def test_there_are_always_a_few_ticks(self, span: float) -> None:
        timeline = Timeline("gate", np.array([0.0, span]), np.ones(2), 1.0)
        assert 1 <= len(Page(timeline_svg(timeline, {})).all("line", "grid")) <= 7

    def test_frames_that_were_not_scored_leave_a_gap_and_are_counted(self) -> None:
        scores = np.array([0.5, 0.5, np.nan, np.nan, 0.5, 0.5])
        timeline = Timeline("gate", np.arange(6.0), scores, 1.0)
        (curve,) = Page(timeline_svg(timeline, {})).all("path", "score")
        assert (curve["d"].count("M"), curve["d"].count("L")) == (2, 2)
        assert "2 frames not scored" in page(Report("r", timelines=(timeline,))).text

    def test_a_long_pause_leaves_a_gap(self) -> None:
        times = np.array([*np.arange(0.0, 10.0), *np.arange(40.0, 50.0)])
        (curve,) = Page(timeline_svg(Timeline("gate", times, np.ones(20), 1.0), {})).all("path", "score")
        assert curve["d"].count("M") == 2

    def test_a_curve_of_many_points_has_no_gap_that_was_not_there(self) -> None:
        timeline = Timeline("gate", np.arange(50_000.0), np.tile([0.2, 0.4], 25_000), 1.0)
        (curve,) = Page(timeline_svg(timeline, {})).all("path", "score")
        assert curve["d"].count("M") == 1
        assert len(curve["d"]) < 30_000

    @pytest.mark.parametrize("scores", [np.empty(0), np.array([np.nan, np.nan]), np.array([-3.0]), np.zeros(2)])
    def test_odd_timelines_are_drawn_without_nonsense(self, scores: NDArray[np.float64]) -> None:
        timeline = Timeline("gate", np.zeros(scores.size), scores, 0.0)
        svg = timeline_svg(timeline, {})
        assert not re.search(r"nan|inf", svg)

    def test_a_label_runs_to_the_next_event_and_the_last_one_stays_inside(self) -> None:
        truth = (("second", 95.0, 99.0), ("first", 10.0, 20.0))
        shown = Page(timeline_svg(Timeline("gate", np.arange(101.0), np.ones(101), 1.0, truth=truth), {}))
        boxes = [(s["x"], s["width"]) for s in shown.all("svg") if s.get("height") == str(LABELS)]
        assert boxes == [("10.000%", "85.000%"), ("20.000%", "80.000%")]


class TestDecimation:
    def test_every_peak_and_dip_survives(self) -> None:
        scores = np.full(10_000, 0.5)
        scores[1234], scores[7777] = 9.0, -9.0
        times, kept = decimate(np.arange(10_000.0), scores, columns=100)
        assert times[kept == 9.0].tolist() == [1234.0]
        assert times[kept == -9.0].tolist() == [7777.0]
        assert len(times) <= 200

    def test_few_points_stay_as_they_are(self) -> None:
        times, scores = decimate(np.arange(10.0), np.arange(10.0), columns=5)
        assert times.tolist() == scores.tolist() == list(range(10))

    @given(
        st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, np.nan]), min_size=21, max_size=200), st.sampled_from([0.5, 1.0])
    )
    def test_range_order_and_gaps_survive(self, values: list[float], interval: float) -> None:
        times, scores = np.arange(len(values), dtype=np.float64) * interval, np.array(values)
        kept_times, kept = decimate(times, scores, columns=10)
        assert len(kept) <= 40
        assert (np.diff(kept_times) > 0).all()
        assert np.isnan(kept).any() == np.isnan(scores).any()
        assert np.nanmax(kept, initial=-1.0) == np.nanmax(scores, initial=-1.0)
        assert np.nanmin(kept, initial=9.0) == np.nanmin(scores, initial=9.0)


class TestWords:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0.0, "0.00"),
            (0.0123, "0.0123"),
            (0.5, "0.50"),
            (12.34, "12.3"),
            (12345.6, "12,346"),
            (np.nan, "not scored"),
        ],
    )
    def test_numbers(self, value: float, text: str) -> None:
        assert number(value) == text

    @pytest.mark.parametrize(
        ("seconds", "digits", "text"),
        [(0, 0, "0:00"), (59.96, 1, "1:00.0"), (62.5, 1, "1:02.5"), (3661, 0, "1:01:01"), (-1.5, 1, "-0:01.5")],
    )
    def test_clock(self, seconds: float, digits: int, text: str) -> None:
        assert clock(seconds, digits=digits) == text

    def test_counts(self) -> None:
        assert [count(n, "alert") for n in (0, 1, 2)] == ["no alerts", "1 alert", "2 alerts"]


class TestTimeline:
    @pytest.mark.parametrize(
        ("times", "scores", "problem"),
        [
            ([0.0, 1.0], [0.0], r"times \(2,\) and scores \(1,\)"),
            ([1.0, 0.0], [0.0, 0.0], "in order"),
            ([0.0, np.nan], [0.0, 0.0], "finite"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_name(self, times: list[float], scores: list[float], problem: str) -> None:
        with pytest.raises(ValueError, match=rf"timeline 'gate': .*{problem}"):
            Timeline("gate", np.array(times), np.array(scores), 1.0)

    def test_a_span_that_ends_before_it_starts_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"truth 'cart' lasts from 5\.0 to 4\.0 s"):
            Timeline("gate", np.arange(9.0), np.ones(9), 1.0, truth=(("cart", 5.0, 4.0),))


class TestWriting:
    def test_it_makes_the_folder_and_leaves_nothing_else_behind(self, tmp_path: Path) -> None:
        target = tmp_path / "out" / "index.html"
        write_report(target, full())
        assert [p.name for p in target.parent.iterdir()] == ["index.html"]
        assert target.read_text(encoding="utf-8") == render(full(), target.parent)

    def test_the_same_report_gives_the_same_bytes(self, tmp_path: Path) -> None:
        first, second = tmp_path / "a.html", tmp_path / "b.html"
        write_report(first, full())
        write_report(second, full())
        assert first.read_bytes() == second.read_bytes()

    def test_text_that_is_not_unicode_does_not_stop_it(self, tmp_path: Path) -> None:
        write_report(tmp_path / "index.html", Report("caf\udce9"))
        assert "caf?" in (tmp_path / "index.html").read_text(encoding="utf-8")


class TestStyle:
    @staticmethod
    def luminance(colour: str) -> float:
        """Relative luminance as WCAG 2 defines it."""
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    @pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
    @pytest.mark.parametrize(
        ("ink", "ground"),
        [
            ("ink", "ground"),
            ("soft", "ground"),
            ("ink", "sheet"),
            ("soft", "sheet"),
            ("alert", "sheet"),
            ("good", "sheet"),
            ("truth-ink", "truth"),
            ("truth-ink", "sheet"),
            ("score", "sheet"),
            ("score", "truth"),
        ],
    )
    def test_text_and_curve_have_enough_contrast(self, ink: str, ground: str, theme: int) -> None:
        colours = dict(
            re.findall(r"--([\w-]+): (#[0-9a-f]{6})", STYLE.split("@media (prefers-color-scheme: dark)")[theme])
        )
        lighter, darker = sorted((self.luminance(colours[ink]), self.luminance(colours[ground])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5
