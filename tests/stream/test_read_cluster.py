"""``spade-stream read --cluster``: the command asks the directory, and hands its camera to the worker that it names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import pytest
import yaml
from directory_fakes import Campus, Worker
from pipeline_fakes import grey

from stream.cli import main
from stream.key_making import let_in_only
from stream.keys import Role
from stream.link import Ended

FRAMES = 4


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def campus(tmp_path: Path, stack: ExitStack) -> Campus:
    return Campus(tmp_path / "campus", stack).start()


@pytest.fixture
def worker(tmp_path: Path, stack: ExitStack, campus: Campus) -> Worker:
    """Scores camera gate, and lets in its issued key and the programs of the machine hall-1."""
    made = Worker("hall-2:0", tmp_path / "hall-2", stack)
    hall = Worker("hall-1:0", tmp_path / "hall-1", stack).keys.local
    made.let_in(gate=campus.gate.public, hall=hall.public)
    let_in_only(campus.keys.path, Role.LOCAL, {hall.public: ["hall-1"]})
    campus.book.put("gate", made.start())
    return made


def configured(tmp_path: Path, **security: str) -> str:
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(FRAMES):
        cv2.imwrite(str(frames / f"{number:03}.png"), grey(50 + number))
    cameras = [{"id": "gate", "source": str(frames), "fps": None, "recorded_at": "2026-01-01T00:00:00Z"}]
    file = tmp_path / "campus.yaml"
    file.write_text(yaml.safe_dump({"cameras": cameras, **({"security": security} if security else {})}))
    return str(file)


def test_a_reader_outside_the_cluster_needs_only_its_key_and_the_directory(
    tmp_path: Path, campus: Campus, worker: Worker
) -> None:
    config = configured(tmp_path, key=str(campus.keys.path / "issued" / "gate.key"))

    assert main(["read", config, "--camera", "gate", "--cluster", campus.endpoint]) == 0
    assert worker.numbers == list(range(FRAMES))
    assert worker.of(Ended) == [Ended("gate", "", {})]


def test_a_reader_of_the_clusters_machines_has_its_own_keys_and_is_told_the_directorys(
    tmp_path: Path, campus: Campus, worker: Worker
) -> None:
    config = configured(tmp_path, keys=str(tmp_path / "hall-1"))
    words = ["--cluster", campus.endpoint, "--directory-key", campus.keys.server.public]

    assert main(["read", config, "--camera", "gate", *words]) == 0
    assert worker.numbers == list(range(FRAMES))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cluster", "auto"], "use ipc:///absolute/path or tcp://address:port"),
        (["--cluster", "ipc:///run/directory"], "tcp://HOST:PORT"),
        (["--cluster", "tcp://hall:8480", "--directory-key", "short"], "40 characters"),
        (["--directory-key", "short"], "goes with --cluster"),
    ],
)
def test_words_that_lead_to_no_directory_are_wrong_usage(
    tmp_path: Path, campus: Campus, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    config = configured(tmp_path, key=str(campus.keys.path / "issued" / "gate.key"))

    assert main(["read", config, "--camera", "gate", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_cluster_is_not_asked_without_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configured(tmp_path)

    assert main(["read", config, "--camera", "gate", "--cluster", "tcp://hall:8480"]) == 2
    assert "spade-stream keys" in capsys.readouterr().err
