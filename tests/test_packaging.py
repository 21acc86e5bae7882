"""The wheel: everything is in it, and it works outside of the checkout; the version and the changelog agree."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from stream import __version__

ROOT = Path(__file__).resolve().parents[1]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "stream", "spade_core")
PATIENCE_S = 240.0  # how long a test waits for another program


def run(*words: str | Path, cwd: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout and nothing of an earlier build gets in."""
    copy = tmp_path_factory.mktemp("source")
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)
    # Without isolation: what builds is what is installed here, and nothing is downloaded.
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", copy, cwd=copy)
    [built] = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bin`` of a new environment that has the wheel; what that depends on comes from the present environment."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def files_of(package: str) -> set[str]:
    found = (path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in found}


@pytest.mark.slow
def test_every_file_of_the_packages_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == files_of("stream") | files_of("spade_core")


@pytest.mark.slow
def test_the_wheel_carries_the_licence_and_its_name_the_version(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [licence] = [name for name in archive.namelist() if name.endswith("/LICENSE")]
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
        [metadata] = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA")]
    assert f"-{__version__}-" in wheel.name
    assert "License-Expression: Apache-2.0" in metadata


@pytest.mark.slow
def test_the_installed_wheel_works_outside_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    environment = {"PATH": f"{installed}:/usr/bin:/bin", "HOME": str(tmp_path)}

    def spade(*words: str) -> str:
        return run(installed / "spade-stream", *words, cwd=tmp_path, environment=environment)

    where = run(installed / "python", "-c", "import stream; print(stream.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert spade("--version") == f"spade-stream {__version__}\n"
    assert "usage: spade-stream demo" in spade("demo", "--help")
    spade("init", "--yes", "--camera", "campus=campus:?seed=7")
    assert "the configuration is right" in spade("check", "spade-stream.yaml")
    assert "spade-stream" in spade("completion", "bash")


@pytest.mark.slow
def test_the_installed_wheel_has_the_console_s_pages(installed: Path, tmp_path: Path) -> None:
    program = (
        "import importlib.resources as r; print(r.files('stream').joinpath('console/static/index.html').read_text())"
    )
    assert "<html" in run(installed / "python", "-c", program, cwd=tmp_path)


def test_the_changelog_has_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *older = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    if ".dev" in __version__:
        assert first == "Unreleased"
        assert __version__.partition(".dev")[0] not in older, "that version has been released: raise the number"
    else:
        assert __version__ in (first, *older[:1])
    assert re.findall(r"^## \[\d.*", text, re.MULTILINE) == re.findall(
        r"^## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE
    )


def test_the_changelog_says_what_breaks_each_contract() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for contract in ("command line", "configuration", "JSON", "wire format", "galleries"):
        assert re.search(rf"^\| {contract}", text, re.MULTILINE), contract
