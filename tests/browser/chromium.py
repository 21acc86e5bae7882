"""Starts Chromium for the tests that look at pages.

Environment, read here alone: ``SPADE_CHROMIUM``, the program to start; ``/usr/bin/chromium`` unless given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright, which comes with the extra dev")

PATIENCE = 20_000
"""Milliseconds after which something that is waited for counts as never happening: a busy machine is slow."""


@contextmanager
def launched() -> Iterator[sync_api.Browser]:
    """The browser; skips the test where there is none."""
    program = os.environ.get("SPADE_CHROMIUM", "/usr/bin/chromium")
    if not Path(program).exists():
        pytest.skip(f"no Chromium at {program} (SPADE_CHROMIUM names another)")
    sync_api.expect.set_options(timeout=PATIENCE)
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def new_page(browser: sync_api.Browser, complaints: list[str], **look: object) -> Iterator[sync_api.Page]:
    """A page in a profile of its own.

    What the browser complains about goes into the list: errors, warnings, violations of the content security policy.
    """
    context = browser.new_context(**look)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page
    finally:
        context.close()
