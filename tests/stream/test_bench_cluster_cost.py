"""``bench cluster --cost`` with a network that needs no weights: what is timed, and the lines that come of it."""

from __future__ import annotations

import pytest
import yaml
from tiny_extractor import tiny_extractor

from spade_core.extractor import FeatureExtractor
from stream.bench import cluster_cost, material, wholes
from stream.bench.cluster_cost import DECODE, CostOptions, costs_of, lines_of, run_cost
from stream.bench.material import ScoringOptions
from stream.bench.result import BenchResult
from stream.cluster_section import ClusterSection
from stream.config import Config
from stream.errors import StreamError

pytestmark = pytest.mark.usefixtures("one_thread")

SCORING = ScoringOptions("efficientnet_lite0", None, 64, "cpu", "torch", None, 60)


def tiny_one(config: Config, *, at_once: int = 1) -> FeatureExtractor:
    return tiny_extractor(side=config.method.size)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny network, tiny pictures, little footage."""
    monkeypatch.setattr(material, "extractor_of", tiny_one)
    monkeypatch.setattr(wholes, "extractor_of", tiny_one)
    monkeypatch.setattr(material, "PICTURE", (128, 72))
    monkeypatch.setattr(cluster_cost, "make_material", _little)


def _little(*arguments: object, **named: object) -> object:
    return material.make_material(*arguments, **named, normal_seconds=16.0)  # type: ignore[arg-type]


def result(**summary: object) -> BenchResult:
    measured = {"kind": "cpu", "lanes": 2, "frame_cost_s": 0.0412, "least_s": 0.035, "others_cores": 0.1, **summary}
    return BenchResult("cluster-cost", {}, (), measured)


def test_a_frame_costs_its_decoding_and_all_cores_while_it_is_scored() -> None:
    found = {DECODE: [0.001, 0.002, 0.003], "campus scorer, 4 at once": [0.010, 0.020, 0.030]}

    assert costs_of(found, at_once=4, lanes=4) == pytest.approx({"frame_cost_s": 0.082, "least_s": 0.041})


def test_on_one_core_what_counts_is_one_frame_at_a_time() -> None:
    assert costs_of({DECODE: [0.001], "campus scorer": [0.02]}, at_once=1, lanes=1)["frame_cost_s"] == pytest.approx(
        0.021
    )


@pytest.mark.parametrize(
    ("cost", "written"), [(0.0412, 0.042), (0.00501, 0.0051), (0.05, 0.05), (1.21, 1.3), (12.1, 13)]
)
def test_the_lines_are_a_section_of_the_configuration_with_two_digits_rounded_up(cost: float, written: float) -> None:
    lines = yaml.safe_load(lines_of(result(frame_cost_s=cost)))

    assert lines == {"cluster": {"frame_cost": {"cpu": written}}}
    assert ClusterSection(**lines["cluster"]).frame_cost.cpu == written


def test_the_cost_on_a_gpu_has_a_line_of_its_own() -> None:
    assert yaml.safe_load(lines_of(result(kind="gpu"))) == {"cluster": {"frame_cost": {"gpu": 0.042}}}


def test_a_busy_machine_is_told_of_beside_the_figure() -> None:
    lines = lines_of(result(others_cores=1.67))

    assert "others kept 1.7 cores busy" in lines
    assert "0.035" in lines
    assert yaml.safe_load(lines) == {"cluster": {"frame_cost": {"cpu": 0.042}}}


def test_frames_are_timed_as_a_worker_with_all_its_cores_scores_them(small: None) -> None:
    found = run_cost(CostOptions(SCORING, 0.5), stopping=lambda: False)

    assert (found.kind, found.summary["kind"], found.summary["lanes"]) == ("cluster-cost", "cpu", 1)
    assert [row.name for row in found.rows] == [DECODE, "campus scorer"]
    assert found.summary["frame_cost_s"] >= found.summary["least_s"] > 0
    assert yaml.safe_load(lines_of(found))["cluster"]["frame_cost"].keys() == {"cpu"}


def test_it_can_be_stopped(small: None) -> None:
    with pytest.raises(StreamError, match="stopped"):
        run_cost(CostOptions(SCORING, 0.5), stopping=lambda: True)
