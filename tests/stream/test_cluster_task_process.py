"""A task on its node: its folder, its process, and what is heard of both."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stream.cluster.task_process import KEPT, carry_out
from stream.cluster.tasks import FOLDER, Outcome, SharedFolder, Task

PROGRAM = (sys.executable, "-c")


class Heard(list[Mapping[str, Any]]):
    """What a task tells."""

    def __call__(self, step: Mapping[str, Any]) -> None:
        self.append(step)


def do(
    script: str, place: Path, *, heard: Heard | None = None, environment: Mapping[str, str] | None = None, **values: Any
) -> Outcome:
    task = Task("gate", (script, FOLDER), place=str(place), **values)
    told = heard if heard is not None else Heard()
    return carry_out(task, environment or {}, node="n1", tell=told, clock=lambda: 0.0, program=PROGRAM)


def left(place: Path) -> list[Path]:
    return list((place / "tasks").iterdir())


def test_a_command_finds_its_files_and_its_result_comes_back(tmp_path: Path) -> None:
    script = """
import sys, pathlib
print("made it")
print(pathlib.Path(sys.argv[1], "site.yaml").read_text())
"""
    found = do(script, tmp_path, files={"site.yaml": '{"result": {"here": "' + FOLDER + '"}}'})

    assert (found.code, found.node, found.said) == (0, "n1", ("made it",))
    assert found.result is not None
    assert str(found.result["here"]).startswith(str(tmp_path / "tasks" / "spade-task-"))
    assert left(tmp_path) == []


def test_each_stage_is_told_once_and_then_once_a_second(tmp_path: Path) -> None:
    script = """
for stage, done in (("watch", 1), ("watch", 2), ("calibrate", 0)):
    print('{"progress": {"stage": "%s", "done": %d}}' % (stage, done))
"""
    heard = Heard()
    do(script, tmp_path, heard=heard)  # its clock stands still

    assert heard == [{"stage": "watch", "done": 1}, {"stage": "calibrate", "done": 0}]


def test_a_failure_says_why_without_the_secrets(tmp_path: Path) -> None:
    script = """
import os, sys
print(os.environ["CAM"])
print("noise", file=sys.stderr)
sys.exit("spade-stream: no answer from rtsp://cam with " + os.environ["CAM"])
"""
    found = do(script, tmp_path, environment={"CAM": "hunter2"})

    assert (found.code, found.error) == (1, "no answer from rtsp://cam with ***")
    assert found.said == ("***",)
    assert left(tmp_path) == []


def test_a_command_that_is_killed_has_failed(tmp_path: Path) -> None:
    found = do("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", tmp_path)

    assert (found.code, found.error) == (1, "the command failed: signal 9")


def test_what_took_long_is_kept_where_only_the_end_failed(tmp_path: Path) -> None:
    script = "import sys, pathlib; pathlib.Path('CURRENT').touch(); sys.exit('spade-stream: the store is away.')"
    found = do(script, tmp_path, keeps="CURRENT")

    [folder] = left(tmp_path)
    assert (folder / KEPT).exists()
    assert found.error == f"the store is away. What was made is kept on n1 in {folder}"


def test_folders_of_tasks_that_were_killed_are_removed_by_the_next_one(tmp_path: Path) -> None:
    for name in ("killed", "kept"):
        folder = tmp_path / "tasks" / f"spade-task-{name}"
        folder.mkdir(parents=True)
        (folder / "task.lock").touch()
    (folder / KEPT).touch()

    do("", tmp_path)

    assert [path.name for path in left(tmp_path)] == ["spade-task-kept"]


def test_those_of_an_evaluation_lie_among_temporary_files_and_are_removed_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "spade-task-killed").mkdir()
    (tmp_path / "spade-task-killed" / "task.lock").touch()

    found = carry_out(Task("01", ("",)), {}, node="n1", tell=Heard(), program=PROGRAM)

    assert (found.code, list(tmp_path.iterdir())) == (0, [])


def test_a_file_of_a_task_is_for_its_user_alone(tmp_path: Path) -> None:
    script = "import os, sys; print('%o' % (os.stat(sys.argv[1] + '/site.yaml').st_mode & 0o777))"

    assert do(script, tmp_path, files={"site.yaml": "cameras: []"}).said == ("600",)


def test_a_folder_of_a_node_that_a_task_makes_is_closed_to_others(tmp_path: Path) -> None:
    do("", tmp_path / "node")

    assert (tmp_path / "node").stat().st_mode & 0o777 == 0o700


def test_a_node_with_another_version_of_the_program_does_nothing(tmp_path: Path) -> None:
    found = do("open('ran', 'w')", tmp_path, version="0.0.1")

    assert found.code == 2
    assert found.error.endswith("and this command is of 0.0.1: install the same on all machines")
    assert not (tmp_path / "tasks").exists()


def test_a_folder_that_is_another_one_on_the_node_is_noticed_before_anything_is_done(tmp_path: Path) -> None:
    shared = SharedFolder(str(tmp_path), ".shared-1", "Set gallery.store")
    found = do("open('ran', 'w')", tmp_path, shared=shared)

    assert (found.code, found.error) == (2, f"{tmp_path} is not the same folder on n1. Set gallery.store")
    (tmp_path / ".shared-1").touch()
    assert do("", tmp_path, shared=shared).code == 0


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = do("", tmp_path / "file")

    assert (found.code, found.error) == (1, f"n1: {tmp_path / 'file'}: File exists")


def test_a_command_ends_when_its_task_is_interrupted(tmp_path: Path) -> None:
    script = """
import os, time
print('{"progress": {"stage": "watch", "pid": %d}}' % os.getpid(), flush=True)
time.sleep(600)
"""
    pids: list[int] = []

    def interrupted(step: Mapping[str, Any]) -> None:
        pids.append(step["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(Task("gate", (script,), place=str(tmp_path)), {}, node="n1", tell=interrupted, program=PROGRAM)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert left(tmp_path) == []
