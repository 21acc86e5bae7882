"""For all tests: fast ones first, recordings that may be absent, skips that a full run does not accept, and the fault
matrix: tests that are marked ``fault(what happens, what is expected)`` are listed in a table when the run ends.

Environment, read here alone:

``SPADE_DATA``     folder of the real recordings; ``../shared/data`` beside the checkout unless given.
``SPADE_REQUIRE``  marks, separated by commas (``rtsp,data``), whose tests must run: a skip of one of them fails.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from small_disk import SmallDisk, mounted

CHECKOUT = Path(__file__).resolve().parents[1]

# A busy machine makes any example late, and a late example says nothing about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Refuses a requirement that no test could ever break."""
    known = {line.split(":")[0].split("(")[0].strip() for line in config.getini("markers")}
    unknown = required_marks() - known
    if unknown:
        raise pytest.UsageError(f"SPADE_REQUIRE names {', '.join(sorted(unknown))}, which is no mark of these tests")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the fast tests first: what is broken at all shows within seconds. Otherwise the order stays."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what needs recordings that are not here."""
    if item.get_closest_marker("data"):
        find_recordings()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip into a failure where the test was required to run."""
    report = yield
    missed = sorted(mark for mark in required_marks() if item.get_closest_marker(mark))
    if report.skipped and missed and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"SPADE_REQUIRE={','.join(missed)} does not allow this: {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the fault matrix, as far as it was run."""
    rows = list(fault_rows(terminalreporter))
    if rows:
        terminalreporter.section("fault matrix")
        terminalreporter.write_line("\n".join(table(("fault", "expected", "outcome"), rows, widths=(38, 62, 8))))


def fault_rows(reporter: pytest.TerminalReporter) -> Iterator[tuple[str, str, str]]:
    """What happened, what was expected and how it came out, for every fault that was tried."""
    for outcome, word in (("passed", "held"), ("failed", "FAILED"), ("error", "FAILED"), ("skipped", "not run")):
        for report in reporter.stats.get(outcome, []):
            for name, value in getattr(report, "user_properties", []):
                if name == "fault":
                    yield (*value, word)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]], *, widths: tuple[int, ...]) -> Iterator[str]:
    """Lines of a table whose cells are broken where they are too long; rows with the same cells stand once."""
    yield "  ".join(cell.ljust(width) for cell, width in zip(head, widths, strict=True)).rstrip()
    yield "  ".join("-" * width for width in widths)
    for row in dict.fromkeys(rows):
        cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for number in range(max(map(len, cells))):
            parts = [cell[number] if number < len(cell) else "" for cell in cells]
            yield "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()


@pytest.fixture(autouse=True)
def _fault(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    """Hands what a test is marked with to its report."""
    for mark in request.node.iter_markers("fault"):
        what, expected = mark.args
        record_property("fault", (what, expected))


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the real recordings (``ped2/``, ``mvtec/``, ``video/``); the test skips where it is absent.

    Mark tests that use it with ``data`` too, so that they can be chosen and required.
    """
    return find_recordings()


def find_recordings() -> Path:
    """The folder, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("SPADE_DATA") or CHECKOUT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no recordings in {folder} (set SPADE_DATA to their folder)")
    return folder


def required_marks() -> set[str]:
    """The marks in SPADE_REQUIRE."""
    return {mark.strip() for mark in os.environ.get("SPADE_REQUIRE", "").split(",") if mark.strip()}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser of all tests that look at pages; skips where there is none.

    One for all: while Playwright runs in a thread, it cannot be started there a second time.
    """
    from browser.chromium import launched  # not above: most tests need none

    with launched() as browser:
        yield browser


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of two megabytes, to be filled; the test skips where none can be mounted."""
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture(scope="module")
def one_thread() -> Generator[None, None, None]:
    """For tiny tensors: on a busy machine, threads that wait for each other take most of the time."""
    import torch  # not above: most tests need none

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
