"""Figures of scored clips, by hand: frames, events and alerts, maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import SIDE, nothing, scored_clip, scored_scene, square

from spade_core.preprocess import Preprocess
from stream.evaluate.figures import alert_figures, events_of, frame_figures, mean_over, per_clip, per_scene
from stream.evaluate.maps import MapFigures, PixelFigures, fit_mask, judge_maps
from stream.evaluate.scored import ScoredClip, ScoredScene

ODD = square(8, 8)
FINE = nothing()
PLAIN = Preprocess(SIDE)


def judge(*scenes: ScoredScene, preprocess: Preprocess = PLAIN, regions: bool = True, wanted=()) -> MapFigures:
    return judge_maps(scenes, preprocess, regions=regions, wanted=set(wanted), done=lambda clip: None)


# --- frames


def test_micro_is_over_all_frames_and_macro_a_mean_of_clips(tmp_path: Path) -> None:
    # Clip a: 3 above 1, 2: AUC 1. Clip b: 30 below 40 and above 20: AUC 1/2.
    a = scored_clip(tmp_path, [FINE, FINE, ODD], [1, 2, 3], name="a")
    b = scored_clip(tmp_path, [FINE, ODD, FINE], [20, 30, 40], name="b")
    found = frame_figures([scored_scene(a, b)], "peaks", by_scene=False)
    assert found.macro == pytest.approx(0.75)
    # Together: 3 beats 1, 2; 30 beats 1, 2, 20: 5 of 8 pairs.
    assert found.micro == pytest.approx(5 / 8)


def test_a_clip_of_one_kind_counts_for_micro_alone(tmp_path: Path) -> None:
    a = scored_clip(tmp_path, [FINE, ODD], [1, 2], name="a")
    b = scored_clip(tmp_path, [ODD, ODD], [0, 0], name="b")
    found = frame_figures([scored_scene(a, b)], "peaks", by_scene=False)
    assert found.macro == 1.0
    assert found.micro == pytest.approx(1 / 3)


def test_causal_scores_look_back_within_their_clip_alone(tmp_path: Path) -> None:
    # Averages: a 0, 0, 2 (of 0, 0, 10); b starts anew at 1: the anomalous 2 beats 0, 0 and 1.
    a = scored_clip(tmp_path, [FINE, FINE, ODD], [0, 0, 10], name="a")
    b = scored_clip(tmp_path, [FINE], [1], name="b")
    assert frame_figures([scored_scene(a, b)], "peaks", by_scene=False).micro_causal == 1.0
    # Were the past that of the clip before, b's frame would have 0.8 * 2 + 0.2 * 3 = 2.2; at 3 of its own it beats 2.
    c = scored_clip(tmp_path, [FINE], [3], name="b")
    assert frame_figures([scored_scene(a, c)], "peaks", by_scene=False).micro_causal == pytest.approx(2 / 3)


def test_the_two_scores_of_a_frame_are_judged_apart(tmp_path: Path) -> None:
    clip = scored_clip(tmp_path, [FINE, ODD], [1, 2], image_scores=[2, 1])
    assert frame_figures([scored_scene(clip)], "peaks", by_scene=False).micro == 1.0
    assert frame_figures([scored_scene(clip)], "image_scores", by_scene=False).micro == 0.0


def test_of_images_macro_is_a_mean_of_scenes_and_nothing_is_averaged_over_time(tmp_path: Path) -> None:
    scenes = [
        scored_scene(
            scored_clip(tmp_path, [FINE], [1], name="good", scene="screw"),
            scored_clip(tmp_path, [ODD], [2], name="bad", scene="screw"),
        ),
        scored_scene(
            scored_clip(tmp_path, [FINE], [9], name="good", scene="nut"),
            scored_clip(tmp_path, [ODD], [8], name="bad", scene="nut"),
        ),
    ]
    found = frame_figures(scenes, "peaks", by_scene=True)
    assert (found.macro, found.micro_causal, found.macro_causal) == (0.5, None, None)


def test_without_labels_there_are_no_figures(tmp_path: Path) -> None:
    scene = scored_scene(scored_clip(tmp_path, None, [1, 2]))
    found = frame_figures([scene], "peaks", by_scene=False)
    assert (found.micro, found.macro, found.roc) == (None, None, None)
    assert alert_figures(scene.clips, late=0.0) is None
    assert per_clip([scene], "peaks", late=0.0)[0]["anomalous_frames"] is None


# --- events and alerts


def an_hour_with_an_event(tmp_path: Path, alerts: list[tuple[float, float]], *, name: str = "01") -> ScoredClip:
    """3,610 s at one frame a second, of which 100 s to 109 s are anomalous: 3,600 normal ones."""
    masks = [ODD if 100 <= second < 110 else FINE for second in range(3610)]
    return scored_clip(tmp_path, masks, [0.0] * 1, every=3610, fps=1.0, alerts=alerts, name=name)


def test_events_are_of_all_native_frames_not_of_the_scored_ones_alone(tmp_path: Path) -> None:
    [event] = events_of(an_hour_with_an_event(tmp_path, []))
    assert (event.clip, event.start, event.end) == ("yard/01", 100.0, 109.0)


def test_labels_that_pause_for_less_than_a_second_are_one_event(tmp_path: Path) -> None:
    masks = [FINE, ODD, FINE, FINE, ODD] + [FINE] * 20 + [ODD]
    found = events_of(scored_clip(tmp_path, masks, [0.0] * 26))
    assert [(event.start, event.end) for event in found] == [(0.1, 0.4), (2.5, 2.5)]


def test_alerts_are_judged_by_recall_delay_and_false_ones_an_hour(tmp_path: Path) -> None:
    found = alert_figures([an_hour_with_an_event(tmp_path, [(104, 112), (500, 505)])], late=0.0)
    assert found is not None
    assert (found.events, found.recall, found.median_delay) == (1, 1.0, 4.0)
    assert (found.false_alerts, found.false_alerts_per_hour) == (1, pytest.approx(1.0))


def test_an_alert_that_took_its_time_to_be_confirmed_still_counts(tmp_path: Path) -> None:
    clip = an_hour_with_an_event(tmp_path, [(109.5, 110)])
    early, late = alert_figures([clip], late=0.0), alert_figures([clip], late=0.6)
    assert early is not None
    assert late is not None
    assert (early.found, late.found) == (0, 1)


def test_an_alert_of_one_clip_finds_no_event_of_another(tmp_path: Path) -> None:
    a = an_hour_with_an_event(tmp_path, [], name="a")
    b = scored_clip(tmp_path, [FINE] * 200, [0.0] * 200, name="b", fps=1.0, alerts=[(104, 112)])
    found = alert_figures([a, b], late=0.0)
    assert found is not None
    assert (found.found, found.false_alerts) == (0, 1)


def test_a_scene_whose_threshold_means_nothing_says_nothing_of_alerts(tmp_path: Path) -> None:
    clip = an_hour_with_an_event(tmp_path, [(104, 112)])
    [row] = per_clip([scored_scene(clip, threshold=None)], "peaks", late=0.0)
    assert (row["alerts"], row["events"]) == (None, None)
    [row] = per_clip([scored_scene(clip)], "peaks", late=0.0)
    assert (row["alerts"], row["events_found"], row["false_alerts"]) == (1, 1, 0)


# --- maps


def test_a_true_mask_is_resized_and_cropped_as_its_frame_is() -> None:
    mask = np.zeros((200, 100), np.bool_)
    mask[100:, :50] = True  # lower left quarter
    fitted = fit_mask(mask, Preprocess(64, crop=32))
    assert fitted.shape == (32, 32)
    assert fitted[16:, :16].all()
    assert fitted.sum() == 16 * 16


def a_map(mask: np.ndarray, inside: float, outside: float) -> np.ndarray:
    return np.where(mask, inside, outside)


def test_maps_that_show_the_truth_have_perfect_figures(tmp_path: Path) -> None:
    masks = [FINE, FINE, *(square(8 + index, 8) for index in range(4))]
    clip = scored_clip(tmp_path, masks, [0.1, 0.1, 2, 2, 2, 2], maps=[a_map(mask, 2, 0.1) for mask in masks])
    found = judge(scored_scene(clip))
    assert (found.total.auc, found.total.pro) == (1.0, 1.0)
    assert found.scenes["yard"].auc == 1.0
    assert (found.rbdc, found.tbdc) == (1.0, 1.0)


def test_scores_that_half_precision_cannot_hold_are_judged_all_the_same(tmp_path: Path) -> None:
    masks = [FINE, ODD, ODD]
    maps = [a_map(mask, 1e5 * (index + 1), 10.0) for index, mask in enumerate(masks)]
    clip = scored_clip(tmp_path, masks, [10.0, 2e5, 3e5], maps=maps)
    found = judge(scored_scene(clip))
    assert (found.total.auc, found.rbdc) == (1.0, 1.0)


def test_maps_that_show_the_contrary_have_none(tmp_path: Path) -> None:
    masks = [FINE, ODD]
    clip = scored_clip(tmp_path, masks, [2, 2], maps=[a_map(mask, 0.1, 2) for mask in masks])
    found = judge(scored_scene(clip))
    assert found.total.auc == 0.0
    assert found.total.pro == pytest.approx(0.0, abs=1e-6)


def test_a_track_is_followed_over_frames_that_are_not_scored(tmp_path: Path) -> None:
    # It moves by 8 of its 16 pixels a frame: of every fourth frame alone, nobody would know that it is one thing.
    masks = [square(8 * index, 8, side=SIDE) for index in range(6)]
    clip = scored_clip(tmp_path, masks, [2, 0.1], every=4, maps=[a_map(masks[0], 2, 0.1), np.full((SIDE, SIDE), 0.1)])
    found = judge(scored_scene(clip))
    assert found.tbdc == pytest.approx(1.0)
    assert found.rbdc is not None
    assert found.rbdc < 1.0


def test_clips_without_pixel_labels_do_not_count(tmp_path: Path) -> None:
    good = scored_clip(tmp_path, [FINE, ODD], [0.1, 2], maps=[a_map(m, 2, 0.1) for m in (FINE, ODD)], name="a")
    bad = scored_clip(tmp_path, [FINE, ODD], [9, 9], pixels=False, name="b")
    assert judge(scored_scene(good, bad)).total.auc == 1.0
    alone = judge(scored_scene(bad))
    assert (alone.total.auc, alone.total.pro, alone.rbdc, alone.threshold) == (None, None, None, None)


def test_maps_that_are_wanted_are_handed_back_and_every_clip_is_reported(tmp_path: Path) -> None:
    clip = scored_clip(tmp_path, None, [1, 5, 3])
    done: list[ScoredClip] = []
    found = judge_maps([scored_scene(clip)], PLAIN, regions=True, wanted={("yard/01", 1)}, done=done.append)
    assert list(found.wanted) == [("yard/01", 1)]
    assert float(found.wanted["yard/01", 1].max()) == 5.0
    assert done == [clip]


def test_of_images_there_are_no_region_criteria(tmp_path: Path) -> None:
    clip = scored_clip(tmp_path, [FINE, ODD], [0.1, 2], maps=[a_map(m, 2, 0.1) for m in (FINE, ODD)])
    found = judge(scored_scene(clip), regions=False)
    assert (found.rbdc, found.tbdc, found.regions) == (None, None, None)
    assert found.total.auc == 1.0


# --- rows


def test_a_scene_has_a_row_with_figures_of_its_own(tmp_path: Path) -> None:
    clip = scored_clip(tmp_path, [FINE, ODD], [1, 2], alerts=[(0.1, 0.1)])
    maps = MapFigures(PixelFigures(0.4, 0.3), {"yard": PixelFigures(0.9, 0.8)}, None, None, None, None)
    [row] = per_scene([scored_scene(clip)], maps, "peaks", by_scene=False, late=0.0)
    assert (row["scene"], row["clips"], row["frames"], row["gallery_frames"]) == ("yard", 1, 2, 7)
    assert (row["frame_auc_micro"], row["pixel_auc"], row["pro"], row["event_recall"]) == (1.0, 0.9, 0.8, 1.0)


def test_a_mean_is_over_the_rows_that_have_the_figure() -> None:
    assert mean_over([{"pro": 0.5}, {"pro": None}, {"pro": 1.0}], "pro") == 0.75
    assert mean_over([{"pro": None}], "pro") is None
