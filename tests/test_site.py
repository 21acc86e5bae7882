"""The documents as a site: it builds without a warning, loads nothing from the network, and can be searched offline."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PATIENCE_S = 240.0  # how long a test waits for Sphinx
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}


@pytest.fixture(scope="module")
def conf() -> ModuleType:
    spec = importlib.util.spec_from_file_location("conf", DOCS / "conf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built, with warnings as errors, and with a proxy that nobody answers at."""
    out = tmp_path_factory.mktemp("site")
    nowhere = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(out / ".trees")]
    done = subprocess.run(
        [*words, str(DOCS), str(out)],
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


class Assets(HTMLParser):
    """What a browser loads by itself to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag == "link" and values.get("rel") in ("next", "prev", "index", "search", "canonical"):
            return
        if wanted := values.get(LOADED.get(tag, "")):
            self.found.append(wanted)
        self.found += re.findall(r"url\(([^)]*)\)", values.get("style") or "")


@pytest.mark.slow
def test_every_page_is_in_the_site(site: Path) -> None:
    made = {file.stem for file in site.glob("*.html")}
    assert {file.stem for file in DOCS.glob("*.md")} <= made


@pytest.mark.slow
def test_no_page_loads_anything_from_the_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        assets = Assets()
        assets.feed(page.read_text(encoding="utf-8"))
        assert assets.found, page
        assert [asset for asset in assets.found if re.match(r"([a-z]+:)?//", asset)] == [], page
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", text) == [], style


@pytest.mark.slow
def test_pages_from_outside_have_their_text_and_links_that_lead_somewhere(site: Path) -> None:
    deployment = (site / "deployment.html").read_text(encoding="utf-8")
    assert "make_secrets.py" in deployment
    assert 'href="security.html' in deployment
    assert "Keep a Changelog" in (site / "changelog.html").read_text(encoding="utf-8")
    assert 'href="deployment.html"' in (site / "security.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.browser
def test_the_search_finds_a_page_without_a_server(site: Path, chromium: Any) -> None:
    asked: list[str] = []
    page = chromium.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{(site / 'search.html').as_uri()}?q=persistence")
    page.wait_for_selector("#search-results li a", timeout=PATIENCE_S * 1000)
    found = page.locator("#search-results li a").all_inner_texts()
    page.close()
    assert any("Tuning" in title or "Method" in title for title in found), found
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_a_link_that_leaves_the_folder_leads_to_the_page_that_stands_for_its_file(conf: ModuleType) -> None:
    assert conf.site_text("security", "[unit](../deploy/README.md#a) [b](wire.md)") == (
        "[unit](deployment.md#a) [b](wire.md)"
    )
    assert conf.site_text("security", "[x](../README.md) [y](https://e.org/../README.md)") == (
        "[x](index.md) [y](https://e.org/../README.md)"
    )


def test_a_page_that_stands_for_a_file_has_its_links_seen_from_here(conf: ModuleType) -> None:
    text = conf.site_text("deployment", "")
    assert text.startswith("# ")
    assert "](security.md)" in text
    assert "](../docs/" not in text


def test_the_index_names_every_page_in_the_side_bar_once(conf: ModuleType) -> None:
    listed = re.findall(r"^([a-z-]+)$", conf.site_text("index", ""), re.MULTILINE)
    assert sorted(listed) == sorted(file.stem for file in DOCS.glob("*.md") if file.stem != "index")
