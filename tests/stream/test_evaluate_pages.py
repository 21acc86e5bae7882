"""Charts of curves, heat maps, and which frames are shown."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import nothing, scored_clip, scored_scene, square

from spade_core.preprocess import Preprocess
from stream.evaluate.compare import Run, differing_frames, text_table
from stream.evaluate.names import FIGURES, shown
from stream.evaluate.pictures import choose, heat_map
from stream.evaluate.report import curve_card, ours
from stream.report.charts import (
    CURVES_AIR,
    CURVES_BOTTOM,
    CURVES_HEIGHT,
    CURVES_LEFT,
    CURVES_WIDTH,
    CurveLine,
    curves_svg,
)

ODD, FINE = square(8, 8), nothing()


# --- curves


def points_of(svg: str) -> list[list[tuple[float, float]]]:
    found = re.findall(r'points="([^"]*)"', svg)
    return [[tuple(map(float, pair.split(","))) for pair in text.split()] for text in found]  # type: ignore[misc]


def test_a_curve_runs_from_the_lower_left_corner_to_the_upper_right_one() -> None:
    svg = curves_svg([CurveLine("ours", np.array([0, 0.15, 0.3]), np.array([0, 0.5, 1.0]))], title="PRO", x_label="x",
                     y_label="y", x_max=0.3)  # fmt: skip
    left, right, top, bottom = CURVES_LEFT, CURVES_WIDTH - CURVES_AIR, CURVES_AIR, CURVES_HEIGHT - CURVES_BOTTOM
    assert points_of(svg) == [[(left, bottom), ((left + right) / 2, (top + bottom) / 2), (right, top)]]


def test_every_line_has_a_class_of_its_own_and_a_name_that_is_escaped() -> None:
    line = np.array([0.0, 1.0])
    card = curve_card(
        "ROC", [CurveLine("<a>", line, line), CurveLine("b", line, line)], x_label="", y_label="", x_max=1
    )
    assert card.count('class="line l0"') == card.count('class="line l1"') == 1
    assert "<a>" not in card
    assert "&lt;a&gt;" in card


# --- heat maps


def test_what_is_hot_is_bright_where_it_is_and_what_a_crop_left_out_is_cold() -> None:
    image = np.full((128, 128, 3), 100, np.uint8)
    scores = np.zeros((32, 32), np.float32)
    scores[:, :16] = 2.0  # the left half of the middle
    drawn = heat_map(image, scores, Preprocess(64, crop=32), hottest=2.0).astype(int).sum(axis=2)
    assert drawn[64, 40] > drawn[64, 88]  # inside the crop: left is hot, right is not
    assert drawn[64, 88] == drawn[64, 10] == drawn[5, 40] == 150  # half the frame's light, and nothing else


# --- frames


def test_missed_ones_are_low_and_anomalous_false_ones_high_and_normal(tmp_path: Path) -> None:
    masks = [FINE, ODD, FINE, ODD, FINE, ODD]
    clip = scored_clip(tmp_path, masks, [5, 1, 9, 8, 2, 3])
    picks = choose([scored_scene(clip)], "peaks", apart=0.0)
    of = {kind: [pick.position for pick in picks if pick.kind == kind] for kind in ("missed", "false", "found")}
    assert of == {"missed": [1, 5, 3], "false": [2, 0, 4], "found": [3, 5, 1]}


def test_frames_of_one_clip_are_some_seconds_apart(tmp_path: Path) -> None:
    clip = scored_clip(tmp_path, [ODD] * 100, list(range(100)), fps=10.0)
    picks = choose([scored_scene(clip)], "peaks", apart=3.0)
    assert [pick.position for pick in picks if pick.kind == "found"] == [99, 69, 39, 9]


def test_where_nothing_is_labelled_the_oddest_frames_are_shown(tmp_path: Path) -> None:
    clip = scored_clip(tmp_path, None, [1, 3, 2])
    assert [(p.kind, p.position) for p in choose([scored_scene(clip)], "peaks", apart=0.0)] == [
        ("highest", 1),
        ("highest", 2),
        ("highest", 0),
    ]


# --- words


def test_figures_that_do_not_exist_are_dashes() -> None:
    assert shown(None, 3) == "\N{EN DASH}"
    assert (shown(0.12345, 3), shown(1234, 0)) == ("0.123", "1,234")


def test_ours_beside_a_published_figure_may_lie_within_another_key() -> None:
    figures = {"pro": 0.5, "scene_mean": {"pro": 0.25}, "frames": 3}
    assert (ours(figures, "pro"), ours(figures, "scene_mean.pro"), ours(figures, "nothing")) == (0.5, 0.25, None)


# --- comparison


def a_run(label: str, *, dataset: str = "ped2", digest: str = "d", **figures: float | None) -> Run:
    plain = {figure.key: None for figure in FIGURES} | figures
    return Run(label, {"dataset": dataset, "frames": 9, "settings": {"frames_digest": digest}, **plain}, {})


def test_differences_are_from_the_first_run() -> None:
    table = text_table([a_run("a", pro=0.5, median_delay=2.0), a_run("b", pro=0.75), a_run("c", pro=0.25)])
    assert re.search(r"^PRO +0\.500 +0\.750 \(\+0\.250\) +0\.250 \(-0\.250\)$", table, re.MULTILINE)
    assert re.search(r"^Delay +2\.0 +\N{EN DASH} +\N{EN DASH}$", table, re.MULTILINE)
    assert "RBDC" not in table, "no run has it"


@pytest.mark.parametrize(
    ("change", "words"),
    [({"dataset": "avenue"}, "b is of avenue, a of ped2"), ({"digest": "e"}, "different frames"), ({}, None)],
)
def test_runs_must_be_of_the_same_frames(change: dict[str, str], words: str | None) -> None:
    found = differing_frames([a_run("a"), a_run("b", **change)])
    assert words in found[0] if words else found == []
