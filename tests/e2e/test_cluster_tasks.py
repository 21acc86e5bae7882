"""``enroll --cluster`` and ``eval --cluster`` on two real Ray nodes give what one machine gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from nearly import nearly

from spade_core.gallery_layout import CALIBRATION, current_version, read_manifest
from stream.bench.local_ray import SETTINGS, LocalRay
from stream.campus import CampusScene
from stream.campus.script import EventKind, Script, ScriptedEvent, normal_script

from .helpers import assert_clean_failure, is_running, json_lines, spade, started, wait_until, write_config

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

WIDTH, HEIGHT, FPS = 320, 180, 10
NORMAL, LATE, TEST = 200, 150, 60  # frames of the training clips, where the second one begins, of the test clip
TIMES = ("started_at", "seconds", "frames_per_second")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRay]:
    pytest.importorskip("ray", reason="needs Ray, which comes with the extra cluster")
    with pytest.MonkeyPatch.context() as environment, LocalRay(tmp_path_factory.mktemp("ray")) as ray:
        for name, value in SETTINGS.items():  # for the commands, which are to connect as the nodes do
            environment.setenv(name, value)
        ray.start_head()
        ray.add("left", cpus=1, labels={"spade-network": "north"})
        ray.add("right", cpus=1)
        ray.await_joined()
        yield ray


# --- enroll


def site(folder: Path, **gallery: Any) -> Path:
    folder.mkdir()
    cameras = [
        {"id": f"gate-{seed}", "source": f"campus:?seed={seed}&size=320x180&duration=30", "fps": 5, "network": network}
        for seed, network in ((3, "north"), (4, None))
    ]
    return write_config(
        folder,
        cameras,
        gallery={"folder": "galleries", "holdout": 0.4, **gallery},
        cluster={"worker_cpus": 1, "folder": str(folder / "node")},
    )


def arrays(gallery: Path) -> dict[str, str]:
    """Checksum of everything in a gallery but its thresholds, which are compared as numbers."""
    version = gallery / current_version(gallery)
    files: dict[str, dict[str, str]] = read_manifest(version)["files"]
    return {name: entry["sha256"] for name, entry in files.items() if name != CALIBRATION}


def thresholds(gallery: Path) -> Any:
    return json.loads((gallery / current_version(gallery) / CALIBRATION).read_bytes())


def test_galleries_made_on_nodes_hold_the_same_bytes(cluster: LocalRay, tmp_path: Path) -> None:
    alone, spread = site(tmp_path / "alone"), site(tmp_path / "spread", store="store")
    assert spade("enroll", alone).code == 0

    done = spade("enroll", spread, "--cluster", cluster.address)

    assert done.code == 0, done.report
    assert "gate-3: begins on" in done.err
    for scene in ("gate-3", "gate-4"):
        here, there = tmp_path / "alone" / "galleries" / scene, tmp_path / "spread" / "store" / scene
        assert arrays(there) == arrays(here)
        assert nearly(thresholds(there), thresholds(here))
        assert f"{scene}/v000001 is in force in" in done.out
    assert not (tmp_path / "spread" / "galleries").exists()


def test_a_camera_that_no_node_reaches_fails_by_name_and_the_others_are_made(cluster: LocalRay, tmp_path: Path) -> None:
    path = site(tmp_path / "site")
    path.write_text(path.read_text().replace("north", "cellar"))

    done = spade("enroll", path, "--cluster", cluster.address)

    assert done.code == 1, done.report
    assert "camera gate-3: no node with the label spade-network=cellar" in done.err
    assert sorted(folder.name for folder in (tmp_path / "site" / "galleries").iterdir()) == ["gate-4"]


def test_more_cores_than_any_node_has_are_refused_before_anything_begins(cluster: LocalRay, tmp_path: Path) -> None:
    path = site(tmp_path / "site")
    path.write_text(path.read_text().replace("worker_cpus: 1", "worker_cpus: 64"))

    done = spade("enroll", path, "--cluster", cluster.address)

    assert_clean_failure(done, 2, "64 core(s)", "the largest has 1")


# --- eval


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two walkways in ShanghaiTech's layout, which has several scenes: walkers, then a cart among them."""
    root = tmp_path_factory.mktemp("walkways")
    for scene, seed in (("01", 7), ("02", 8)):
        normal = CampusScene(seed=seed, script=normal_script(None, 8), width=WIDTH, height=HEIGHT, fps=FPS)
        for index in range(NORMAL):
            clip = f"{scene}_00{1 if index < LATE else 2}"
            write(root / "training" / "frames" / clip / f"{index:04d}.jpg", normal.render(index)[0])
        event = ScriptedEvent(EventKind.CART, 2.0, TEST / FPS)
        odd = CampusScene(seed=seed, script=Script(TEST / FPS, 9, (event,)), width=WIDTH, height=HEIGHT, fps=FPS)
        shown = [odd.render(index) for index in range(TEST)]
        for index, (image, _) in enumerate(shown):
            write(root / "testing" / "frames" / f"{scene}_0001" / f"{index:04d}.jpg", image)
        masks = np.stack([mask > 0 for _, mask in shown]).astype(np.uint8)
        for kind, labels in (("pixel", masks), ("frame", masks.any(axis=(1, 2)).astype(np.int8))):
            path = root / "testing" / f"test_{kind}_mask" / f"{scene}_0001.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, labels)
    return root


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def metrics(out: Path) -> dict[str, Any]:
    """All figures but those that are of this run alone: when it was, and how long it took."""
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return {name: value for name, value in found.items() if name not in TIMES}


def alerts(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Alerts of each scene, but for their numbers: those of one machine are mixed as they came."""
    found: dict[str, list[dict[str, Any]]] = {}
    for alert in json_lines((out / "alerts.jsonl").read_text(encoding="utf-8")):
        for name in ("mask", "snapshot"):
            assert (out / alert[name]).is_file()
        own = {name: value for name, value in alert.items() if name not in ("seq", "mask", "snapshot")}
        found.setdefault(alert["camera"], []).append(own)
    return found


def test_an_evaluation_on_nodes_has_the_same_figures(cluster: LocalRay, root: Path, tmp_path: Path) -> None:
    words = ("eval", "--dataset", "shanghaitech", "--root", root, "--size", "128", "--every", "2")
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    done = spade(*words, "--out", alone, bound=600)
    assert done.code == 0, done.report

    done = spade(*words, "--out", spread, "--cluster", cluster.address, "--task-cpus", "1", bound=600)

    assert done.code == 0, done.report
    assert nearly(metrics(spread), metrics(alone))
    assert metrics(spread)["frames"] == TEST
    assert metrics(spread)["alerts"] > 0
    assert nearly(alerts(spread), alerts(alone))
    assert sorted(path.name for path in spread.iterdir()) == sorted(path.name for path in alone.iterdir())
    for scene in ("01", "02"):
        assert arrays(spread / "galleries" / scene) == arrays(alone / "galleries" / scene)


# --- a node dies; last, since the cluster is another one afterwards


def test_a_task_whose_node_dies_begins_elsewhere_and_stopping_leaves_nothing(cluster: LocalRay, tmp_path: Path) -> None:
    path = site(tmp_path / "site", store="store")
    path.write_text(path.read_text().replace("duration=30", "duration=3000"))
    words = ("enroll", path, "--camera", "gate-3", "--cluster", cluster.address)

    with started(tmp_path, *words) as program:
        program.until(lambda: "gate-3: begins on" in program.err, "it begins on the one node of its network")
        cluster.add("spare", cpus=1, labels={"spade-network": "north"})
        cluster.await_joined()
        assert cluster.kill("left") > 0
        program.until(lambda: "again: its node, or its process" in program.err, "it begins on the other one")
        program.until(lambda: _tasks(cluster, "spare"), "its command runs there")
        [task] = _tasks(cluster, "spare")
        done = program.stop()

    assert done.code == 1, done.report
    assert "stopped; 0 of 1 were done" in done.err
    wait_until(lambda: not is_running(task), "the command on the node has ended")
    assert list((cluster.nodes["spare"].folder / "tasks").iterdir()) == []
    assert list((tmp_path / "site" / "store").iterdir()) == []


def _tasks(cluster: LocalRay, node: str) -> list[int]:
    """Processes of commands of ours that run on a node."""
    found = []
    for pid in cluster.nodes[node].processes():
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            found += [pid] if b"enroll" in words else []
    return found
