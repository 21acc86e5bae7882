"""One run for one state folder, and the copy of its configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream.errors import StateBusy, StreamError, UsageError
from stream.run_folder import RunFolder


def test_the_folder_is_made_and_private(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "new" / "state")

    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.close()


def test_a_state_folder_that_it_makes_is_for_this_user_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = os.umask(0o022)
    try:
        RunFolder(tmp_path / "new" / "state").close()
    finally:
        os.umask(before)

    assert (tmp_path / "new" / "state").stat().st_mode & 0o777 == 0o700
    assert caplog.text == ""


def test_a_state_folder_that_others_can_enter_stays_and_the_log_says_how_to_close_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o755)
    RunFolder(state).close()

    assert state.stat().st_mode & 0o777 == 0o755
    assert [record.getMessage() for record in caplog.records] == [
        f"state {state}: other users can read alerts and pictures (mode 0755). Run chmod 700 on it"
    ]


def test_a_folder_that_others_could_enter_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    RunFolder(tmp_path).close()

    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_a_state_folder_has_one_owner_who_is_named(tmp_path: Path) -> None:
    first = RunFolder(tmp_path)
    with pytest.raises(StateBusy, match=rf"in use by process {os.getpid()}: stop that run"):
        RunFolder(tmp_path)

    first.close()
    first.close()
    RunFolder(tmp_path).close()


def test_a_process_that_dies_leaves_no_owner_behind(tmp_path: Path) -> None:
    program = "import os, sys\nfrom pathlib import Path\nfrom stream.run_folder import RunFolder\n"
    program += "folder = RunFolder(Path(sys.argv[1]))\nos.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert (tmp_path / "run" / "owner.lock").exists()

    RunFolder(tmp_path).close()


def test_a_process_of_the_owner_does_not_own(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    program = [sys.executable, "-c", "input(print('up', flush=True))"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(program, **pipes, close_fds=False) as child:
        assert child.stdout is not None
        child.stdout.readline()  # before it has begun its program it still has what its parent has open
        folder.close()
        RunFolder(tmp_path).close()
        child.communicate(b"\n")


def test_the_copy_is_the_text_itself_and_private(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.keep_config("cameras: [${SECRET}]  # größer\n")
    folder.keep_config("second\n")

    assert folder.config.read_text(encoding="utf-8") == "second\n"
    assert folder.config.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.path.iterdir()) == ["config.yaml", "owner.lock"]
    folder.close()


def test_a_copy_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.keep_config("first\n")

    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(StreamError, match=r"config\.yaml cannot be written: No space left on device"):
        folder.keep_config("second\n")

    assert folder.config.read_text() == "first\n"
    folder.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(UsageError, match="Choose a folder that this user may write to"):
        RunFolder(tmp_path / "state")
