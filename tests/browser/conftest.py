"""A made-up site for each test, and a page in it that has signed in and must end without a complaint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .chromium import new_page, sync_api
from .fake_site import Site, running


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site of its own."""
    with running(tmp_path) as site:
        yield site


@pytest.fixture
def look() -> dict[str, object]:
    """How the browser of ``page`` is set; a test may parametrize it."""
    return {"viewport": {"width": 1280, "height": 800}}


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about."""
    return []


@pytest.fixture
def stranger(chromium: sync_api.Browser, look: dict[str, object], complaints: list[str]) -> Iterator[sync_api.Page]:
    """A page of somebody who has not signed in."""
    with new_page(chromium, complaints, **look) as page:
        yield page


@pytest.fixture
def page(stranger: sync_api.Page, site: Site, complaints: list[str]) -> Iterator[sync_api.Page]:
    """A page that has signed in by the link and shows the wall. It must end without a complaint."""
    stranger.goto(site.login)
    stranger.get_by_role("heading", name="Wall").wait_for()
    yield stranger
    assert complaints == []
