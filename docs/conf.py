"""How Sphinx makes a site of these pages, without the network: ``make site``.

The pages are plain Markdown that also reads well in a repository's browser. Two of them stand for files outside of this
folder and get their text here; links that leave the folder are bent to the pages of the site.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from stream import __version__  # noqa: E402

project = "spade-stream"
author = "the spade-stream authors"
version = release = __version__
copyright = ""
language = "en"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["examples"]
myst_heading_anchors = 4  # as links between the pages use them
myst_links_external_new_tab = False
suppress_warnings: list[str] = []
nitpicky = True

html_theme = "furo"
html_title = f"spade-stream {release}"
html_show_copyright = html_show_sphinx = html_copy_source = False
html_theme_options: dict[str, Any] = {"navigation_with_keys": True}
pygments_style = "sphinx"
pygments_dark_style = "monokai"

STANDS_FOR = {"deployment": "deploy/README.md", "changelog": "CHANGELOG.md"}
"""Page -> the file, from the root of the checkout, whose text it gets."""

OUTSIDE = {"../README.md": "index.md", **{f"../{file}": f"{page}.md" for page, file in STANDS_FOR.items()}}
"""Link that leaves this folder -> the page of the site that takes its place."""

NAVIGATION = {
    "First steps": ["start-cameras", "start-recordings", "start-programs", "comparison"],
    "Running it": [
        "configuration",
        "galleries",
        "console",
        "operator",
        "tuning",
        "deployment",
        "monitoring",
        "security",
        "capacity",
    ],
    "For other programs": ["alerts", "sinks", "wire"],
    "How it works": ["method", "architecture", "performance", "evaluation", "faults", "soak"],
}
"""What stands in the site's side bar, by heading. A page that is named nowhere stands under "More"."""

_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def site_text(page: str, text: str) -> str:
    """The Markdown of a page as the site shows it.

    Args:
        page: its name, without suffix.
        text: as it stands in the file.
    """
    folder = Path()
    if page in STANDS_FOR:
        file = HERE.parent / STANDS_FOR[page]
        text, folder = file.read_text(encoding="utf-8"), Path(STANDS_FOR[page]).parent

    def bent(link: re.Match[str]) -> str:
        target, anchor = link[1], link[2] or ""
        if "://" in target:
            return link[0]
        if page in STANDS_FOR:
            target = _seen_from_here(folder / target)
        return f"]({OUTSIDE.get(target, target)}{anchor})"

    return _LINK.sub(bent, text) + (_side_bar() if page == "index" else "")


def _side_bar() -> str:
    """The index's lists of pages, which no reader of the Markdown needs to see."""
    pages = {file.stem for file in HERE.glob("*.md")} - {"index"}
    named = {page for group in NAVIGATION.values() for page in group}
    groups = {**NAVIGATION, "More": sorted(pages - named)}
    lists = [
        "\n".join(
            ["```{toctree}", ":hidden:", f":caption: {name}", "", *(page for page in group if page in pages), "```"]
        )
        for name, group in groups.items()
    ]
    return "\n" + "\n\n".join(lists) + "\n"


def _seen_from_here(path: Path) -> str:
    """A path from the root of the checkout, as this folder's pages write it."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts[1:]) if parts[0] == HERE.name else "../" + "/".join(parts)


def setup(app: Any) -> None:
    """Called by Sphinx."""

    def on_read(app: Any, page: str, source: list[str]) -> None:
        source[0] = site_text(page, source[0])

    def on_environment(app: Any, environment: Any, changed: set[str], *others: Any) -> list[str]:
        return [page for page in STANDS_FOR if page in environment.found_docs]  # Sphinx does not see their files change

    app.connect("source-read", on_read)
    app.connect("env-get-outdated", on_environment)
