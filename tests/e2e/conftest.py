"""One small scene, filmed and enrolled once for all end-to-end tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .footage import ONCE, ONCE_COUNT, THRICE, THRICE_COUNT, as_motion_jpeg, film_normal, film_painted
from .helpers import Finished, spade, write_config


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A scene with a gallery."""

    gallery: Path
    done: Finished  # what enroll said


@pytest.fixture(scope="session")
def normal_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 s of the scene as it is."""
    return film_normal(tmp_path_factory.mktemp("normal") / "normal.mp4")


@pytest.fixture(scope="session")
def normal_film_avi(normal_film: Path) -> Path:
    """The same in Motion JPEG."""
    return as_motion_jpeg(normal_film, normal_film.with_suffix(".avi"))


@pytest.fixture(scope="session")
def painted_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 s of the scene; in ONCE of them something is there that does not belong."""
    return film_painted(tmp_path_factory.mktemp("painted") / "painted.mp4", ONCE, ONCE_COUNT)


@pytest.fixture(scope="session")
def thrice_painted_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 s of the scene; the same thing comes three times."""
    return film_painted(tmp_path_factory.mktemp("thrice") / "thrice.mp4", THRICE, THRICE_COUNT)


@pytest.fixture(scope="session")
def enrolled(tmp_path_factory: pytest.TempPathFactory, normal_film: Path) -> Enrolled:
    """The scene's gallery, made by the command. Copy it before damaging it."""
    folder = tmp_path_factory.mktemp("enrolled")
    config = write_config(
        folder, [{"id": "yard", "source": str(normal_film), "fps": 5}], gallery={"folder": "galleries", "holdout": 0.4}
    )
    done = spade("enroll", config)
    assert done.code == 0, done.report
    return Enrolled(folder / "galleries" / "yard", done)


@pytest.fixture(scope="session")
def gallery(enrolled: Enrolled) -> Path:
    """Its folder."""
    return enrolled.gallery


@pytest.fixture(scope="module")
def sockets() -> Iterator[Path]:
    """A folder with a name that is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="sp-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
