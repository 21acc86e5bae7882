"""For all tests: fast ones first, recordings that may be absent, and skips that a full run does not accept.

Environment, read here alone:

``SPADE_DATA``     folder of the real recordings; ``../shared/data`` beside the checkout unless given.
``SPADE_REQUIRE``  marks, separated by commas (``rtsp,data``), whose tests must run: a skip of one of them fails.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

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


@pytest.fixture(scope="module")
def one_thread() -> Generator[None, None, None]:
    """For tiny tensors: on a busy machine, threads that wait for each other take most of the time."""
    import torch  # not above: most tests need none

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
