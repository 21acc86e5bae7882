"""The test run itself: its order, and what it does about tests that cannot run. Uses pytest on small test files."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

INI = """
[pytest]
addopts = --strict-markers -p no:cacheprovider
markers =
    slow: long
    rtsp: needs a server
    data: needs recordings
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test folder with the conftest of this one, and nothing in the environment."""
    monkeypatch.delenv("SPADE_DATA", raising=False)
    monkeypatch.delenv("SPADE_REQUIRE", raising=False)
    pytester.makeini(INI)
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text(encoding="utf-8"))
    return pytester


SKIPS = """
    import pytest

    @pytest.mark.rtsp
    def test_camera():
        pytest.skip("no server here")
"""


def test_fast_tests_run_before_slow_ones_and_otherwise_in_the_order_written(run: pytest.Pytester) -> None:
    run.makepyfile("""
        import pytest

        @pytest.mark.slow
        def test_a(): pass

        def test_b(): pass

        @pytest.mark.slow
        def test_c(): pass

        def test_d(): pass
    """)
    outcome = run.runpytest("-v")
    outcome.stdout.fnmatch_lines(["*::test_b *", "*::test_d *", "*::test_a *", "*::test_c *"])


def test_a_skip_stays_a_skip_where_nothing_is_required(run: pytest.Pytester) -> None:
    run.makepyfile(SKIPS)
    run.runpytest().assert_outcomes(skipped=1)


def test_a_skip_of_what_is_required_fails_and_says_why(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPADE_REQUIRE", "data, rtsp")
    run.makepyfile(SKIPS)
    outcome = run.runpytest()
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["*SPADE_REQUIRE=rtsp does not allow this: Skipped: no server here*"])


def test_a_skip_in_a_fixture_counts_too(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPADE_REQUIRE", "rtsp")
    run.makepyfile("""
        import pytest

        @pytest.fixture
        def camera(): pytest.skip("no server here")

        @pytest.mark.rtsp
        def test_camera(camera): pass
    """)
    run.runpytest().assert_outcomes(errors=1)


def test_other_tests_may_still_skip(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPADE_REQUIRE", "data")
    run.makepyfile(SKIPS)
    run.runpytest().assert_outcomes(skipped=1)


def test_an_expected_failure_is_no_skip(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPADE_REQUIRE", "rtsp")
    run.makepyfile("""
        import pytest

        @pytest.mark.rtsp
        @pytest.mark.xfail(strict=True)
        def test_camera(): assert False
    """)
    run.runpytest().assert_outcomes(xfailed=1)


def test_a_requirement_that_is_no_mark_is_refused(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPADE_REQUIRE", "rstp")
    outcome = run.runpytest()
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines(["*SPADE_REQUIRE names rstp, which is no mark*"])


RECORDINGS = """
    import pytest

    @pytest.mark.data
    def test_marked(): pass

    def test_asks(data): assert (data / "here").exists()
"""


def test_tests_of_recordings_run_where_they_are(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run.mkdir("recordings")
    (folder / "here").touch()
    monkeypatch.setenv("SPADE_DATA", str(folder))
    run.makepyfile(RECORDINGS)
    run.runpytest().assert_outcomes(passed=2)


def test_absent_recordings_skip_and_say_where_they_were_sought(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPADE_DATA", "/nowhere")
    run.makepyfile(RECORDINGS)
    outcome = run.runpytest("-rs")
    outcome.assert_outcomes(skipped=2)
    outcome.stdout.fnmatch_lines(["*no recordings in /nowhere (set SPADE_DATA to their folder)*"])
