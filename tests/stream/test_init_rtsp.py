"""``spade-stream init`` with a camera that is real: the password that was typed is the one that opens it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from test_rtsp_source import PASSWORD, USER, playing
from video_files import make_video

from stream.config import load_config
from stream.init_command import Terminal, run_init
from stream.sources import open_source

pytestmark = [pytest.mark.rtsp, pytest.mark.slow]


def init(url: str, shown: list[str]) -> int:
    arguments = argparse.Namespace(
        config=Path("site.yaml"), yes=True, camera=[f"gate={url}"], fps=5.0, probe=True, force=True
    )
    return run_init(arguments, Terminal(say=shown.append), interactive=False)


def variables() -> dict[str, str]:
    lines = Path("site.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_a_password_typed_without_escapes_opens_the_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown: list[str] = []
    with playing(make_video(tmp_path / "recording.avi", codec="mjpeg")) as camera:
        assert init(f"rtsp://{USER}:{PASSWORD}@{camera.address}", shown) == 0
        [loaded] = load_config(Path("site.yaml"), variables()).cameras
        open_source(loaded.source).close()
        assert "gate: answers, " in "\n".join(shown)

        assert init(f"rtsp://{USER}:wr0ng@{camera.address}", shown) == 1
    assert "refuses the user name or the password" in "\n".join(shown)
    assert "wr0ng" not in "\n".join(shown)
    assert PASSWORD not in "\n".join(shown)
