"""The console's pages as files: nothing in them lets a text become a script, they find each other, and can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import stream.console

STATIC = Path(stream.console.__file__).parent / "static"
SCRIPTS = sorted([*STATIC.glob("js/*.js"), *STATIC.glob("views/*.js")])
LONGEST = 250  # lines of a module
LEAST_CONTRAST = 4.5  # of text, WCAG 2 AA

UNSAFE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc"
    r'|setAttribute\("(style|on)|createContextualFragment|javascript:|https?://(?!www\.w3\.org/2000/svg)'
)
"""Ways for a text to become a script or a style, and addresses of other places."""

TEXT_ON = (
    *(("ink", "ground"), ("ink", "surface"), ("ink", "accent-soft"), ("muted", "ground"), ("muted", "surface")),
    *(
        ("muted", "sunken"),
        ("muted", "calm-soft"),
        ("muted", "accent-soft"),
        ("accent", "surface"),
        ("accent", "ground"),
    ),
    *(("accent", "accent-soft"), ("accent-ink", "accent"), ("bad", "surface"), ("bad", "sunken"), ("bad", "bad-soft")),
    *(("warn", "warn-soft"), ("good", "surface"), ("good", "good-soft"), ("surface", "bad"), ("ground", "ink")),
)
"""Colours of text, and what it stands on."""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_makes_markup_of_texts_or_asks_another_place(script: Path) -> None:
    assert UNSAFE.findall(script.read_text(encoding="utf-8")) == []


def test_the_page_has_no_script_or_style_of_its_own_and_asks_this_server_alone() -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    assert all(address.startswith("/static/") for address in re.findall(r'(?:src|href)="([^"]+)"', page))


def test_everything_that_is_loaded_is_there() -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    named = [STATIC / address for address in re.findall(r'"/static/([^"]+)"', page)]
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8")
        named += [script.parent / name for name in re.findall(r'from "(\.[^"]+)"', text)]
        named += [STATIC / name for name in re.findall(r'"/static/([^"]+)"', text)]
    assert [path for path in named if not path.is_file()] == []


def test_every_file_lies_where_the_package_takes_it_from() -> None:
    deep = [path for path in STATIC.rglob("*") if path.is_file() and len(path.relative_to(STATIC).parts) > 2]
    assert deep == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_module_is_short_and_says_why_it_exists(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("// ")
    assert len(lines) <= LONGEST


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_stand_out_from_what_they_stand_on(theme: str) -> None:
    colours = _colours(theme)
    weak = {pair: round(_contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in TEXT_ON}
    assert {pair: found for pair, found in weak.items() if found < LEAST_CONTRAST} == {}


def test_contrast_is_that_of_the_standard() -> None:
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    assert _contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def _colours(theme: str) -> dict[str, str]:
    css = (STATIC / "css" / "base.css").read_text(encoding="utf-8")
    light, _, rest = css.partition(':root[data-theme="dark"] {')
    block = light if theme == "light" else rest.partition("}")[0]
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance of sRGB, as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
