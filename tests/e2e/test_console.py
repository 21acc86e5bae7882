"""The console of a real run, in a real browser: an alert comes in live, is reviewed, and is called normal."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from browser.chromium import new_page, sync_api

from .helpers import free_port, spade, started, write_config

pytestmark = [pytest.mark.slow, pytest.mark.browser]

BOUND = 240_000
"""Milliseconds for what takes processes that load a network, on a machine that has other work."""


def a_site(folder: Path, film: Path, gallery: Path) -> Path:
    """One camera that shows the film over and over, its gallery a copy that may change, and a console."""
    shutil.copytree(gallery, folder / "galleries" / "yard")
    return write_config(
        folder,
        [{"id": "yard", "source": f"loop:{film}", "fps": 5}],
        gallery={"folder": "galleries"},
        console={"address": f"127.0.0.1:{free_port()}"},
    )


def test_an_alert_is_seen_live_and_called_normal_and_the_gallery_has_a_new_version(
    tmp_path: Path, thrice_painted_film: Path, gallery: Path, chromium: sync_api.Browser
) -> None:
    config = a_site(tmp_path, thrice_painted_film, gallery)
    current = tmp_path / "galleries" / "yard" / "CURRENT"
    before = current.read_text(encoding="utf-8")
    complaints: list[str] = []
    with started(tmp_path, "run", config) as run, new_page(chromium, complaints) as page:
        link = run.until(lambda: spade("console", "link", config).out.strip(), "the console gives a link")
        run.until(lambda: "console on http" in run.err, "the console listens")
        page.goto(link.split()[-1])
        see_it_live(page)
        review_it(page)
        call_it_normal(page)
        assert current.read_text(encoding="utf-8") != before
        page.get_by_role("button", name="Undo").click()
        sync_api.expect(page.locator(".normal-panel")).to_contain_text("is in force again", timeout=BOUND)
        assert current.read_text(encoding="utf-8") == before
        assert complaints == []
        assert run.stop().code == 0


def see_it_live(page: sync_api.Page) -> None:
    """The wall shows the camera; then its alert comes into the list by itself, and is opened."""
    expect = sync_api.expect
    expect(page.get_by_alt_text("Live view of yard")).to_be_visible(timeout=BOUND)
    page.goto(page.url.split("#")[0] + "#/alerts")
    expect(page.locator(".alert-row").first).to_be_visible(timeout=BOUND)
    page.locator(".alert-row a").first.click()
    expect(page.get_by_role("heading", name="Why it fired")).to_be_visible()
    expect(page.get_by_alt_text("What yard saw")).to_be_visible()
    expect(page.locator("canvas.mask")).to_be_visible()


def review_it(page: sync_api.Page) -> None:
    """Says that it was a false alarm, and takes that back."""
    page.keyboard.press("f")
    sync_api.expect(page.locator(".alert-head")).to_contain_text("False alarm")
    page.keyboard.press("z")
    sync_api.expect(page.locator(".alert-head")).to_contain_text("Not reviewed")


def call_it_normal(page: sync_api.Page) -> None:
    """First what it would silence, then the new version."""
    page.keyboard.press("n")
    page.get_by_role("button", name="Show what it would silence").click()
    panel = page.locator(".normal-panel")
    sync_api.expect(panel.locator(".dry-run")).to_contain_text("of the last 30 days", timeout=BOUND)
    page.get_by_role("button", name="Add it to the gallery").click()
    sync_api.expect(panel).to_contain_text(re.compile(r"is now version v\d{6}"), timeout=BOUND)
    sync_api.expect(panel).not_to_contain_text("Not in force yet")
    sync_api.expect(page.locator(".alert-head")).to_contain_text("Normal")
