"""Which module may import which: the arrows of the design, read from the sources; and what importing must not do."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A module may import from its own layer and from those below it. An entry stands for all modules of a package, unless
# one of them has an entry of its own.
LAYERS = {
    # values, errors, and what needs nothing of ours but those
    "stream": 0,
    "stream.errors": 0,
    "stream.fields": 0,
    "stream.messages": 0,
    "stream.redact": 0,
    "stream.logs": 0,
    "stream.lockfile": 0,
    "stream.pulse": 0,
    "stream.stopping": 0,
    "stream.notify": 0,
    "stream.campus": 0,
    "stream.sources.base": 0,
    "stream.progress": 0,
    "stream.cli_arguments": 0,
    # pure rules and formats
    "stream.wire": 1,
    "stream.zones": 1,
    "stream.policy": 1,
    "stream.view_watch": 1,
    "stream.scene_choice": 1,
    "stream.batching": 1,
    "stream.durable": 1,
    "stream.endpoints": 1,
    "stream.keys": 1,
    "stream.key_making": 1,
    "stream.curve": 1,
    "stream.tcp": 1,
    "stream.guard": 1,
    "stream.latency": 0,
    "stream.health": 1,
    "stream.scorelog": 1,
    "stream.score_table": 1,
    "stream.what_if": 1,
    "stream.comparable": 3,
    "stream.kept_frame": 1,
    "stream.overlay": 1,
    "stream.heat": 1,
    "stream.pictures": 1,
    "stream.report": 1,
    "stream.mailbox": 1,
    "stream.stillness": 1,
    "stream.structure": 1,
    "stream.picture": 2,
    "stream.lookout": 3,
    # the parts: each knows formats, none knows the others' insides
    "stream.config": 2,
    "stream.config_arguments": 3,
    "stream.file_watch": 1,
    "stream.console_section": 1,
    "stream.scene_sections": 2,
    "stream.operator_settings": 2,
    "stream.config_values": 1,
    "stream.config_sections": 2,
    "stream.cluster_section": 2,
    "stream.sink_sections": 2,
    "stream.sources": 2,
    "stream.server_socket": 2,
    "stream.link": 2,
    "stream.live": 2,
    "stream.live_views": 4,
    "stream.link_client": 3,
    "stream.evidence": 2,
    "stream.outbox_schema": 2,
    "stream.outbox": 2,
    "stream.retention": 3,
    "stream.commits": 3,
    "stream.places": 3,
    "stream.clip_video": 2,
    "stream.clip_thread": 3,
    "stream.clips": 3,
    "stream.security": 3,
    "stream.engine": 3,  # reads the configuration
    "stream.capture": 4,
    "stream.sheet": 3,
    "stream.results": 3,
    # what a process does
    "stream.alerting": 4,
    "stream.camera_settings": 4,
    "stream.reader": 4,
    "stream.camera": 5,
    "stream.camera_view": 2,
    "stream.drift": 2,
    "stream.drift_store": 2,
    "stream.drift_guard": 1,
    "stream.worker": 6,
    "stream.worker_settings": 2,
    "stream.assigned": 3,
    "stream.score_maps": 1,
    "stream.seldom": 1,
    "stream.feed": 4,
    "stream.subscriber": 5,
    "stream.sinks": 5,
    "stream.footage": 4,
    "stream.reconnect": 4,
    "stream.enroll": 5,
    "stream.gallery_add": 6,
    "stream.gallery_copy": 2,
    "stream.gallery_places": 2,
    "stream.gallery_store": 3,
    "stream.gallery_shelf": 2,
    "stream.gallery_cache": 3,
    "stream.gallery_store_commands": 9,
    "stream.normal": 3,
    "stream.region_masks": 1,
    "stream.normal_judge": 4,
    # the console, which sees the parts from outside
    "stream.console": 7,
    "stream.console.token": 3,  # whoever starts a run is shown the link, or why there is no console
    "stream.console.users": 3,
    "stream.console.checks": 3,
    # beyond one machine
    "stream.cluster": 8,  # unless it is named below
    "stream.cluster.model": 1,
    "stream.cluster.ray_connect": 2,  # names and addresses; what follows is the rest that knows of Ray
    "stream.cluster.run_keys": 3,
    "stream.cluster.settings_text": 3,
    "stream.cluster.ray_fleet": 3,
    "stream.cluster.ray_control": 8,
    "stream.cluster.ray_actors": 9,
    "stream.cluster.ray_link": 9,
    "stream.cluster.run_command": 9,
    "stream.cluster.status_command": 9,
    "stream.cluster.assignment": 3,
    "stream.cluster.tasks": 2,
    "stream.cluster.task_view": 3,
    "stream.cluster.task_process": 8,
    "stream.cluster.ray_tasks": 8,
    "stream.cluster.enroll_tasks": 9,
    "stream.cluster.eval_tasks": 9,
    "stream.cluster.fleet": 1,
    "stream.cluster.handover": 1,
    "stream.cluster.reading": 1,
    "stream.endless": 3,
    "stream.cluster.ledger": 2,
    "stream.cluster.posts": 2,
    "stream.cluster.roster": 3,
    "stream.cluster.scoring": 4,
    "stream.cluster.trust": 3,
    "stream.cluster.cut_off": 4,
    "stream.cluster.gatekeeper": 4,
    "stream.cluster.outline": 5,
    "stream.cluster.reader_orders": 6,
    "stream.cluster.control": 7,
    "stream.cluster.directory": 3,
    "stream.cluster.directory_client": 2,
    "stream.cluster.directory_watch": 3,
    "stream.cluster.outbox_line": 6,
    "stream.cluster.subscriber": 7,
    "stream.cluster.merged_status": 2,
    "stream.cluster.camera_events": 2,
    "stream.cluster.open_alerts": 2,
    "stream.cluster.collected": 6,
    "stream.cluster.collector": 8,
    "stream.cluster.alerts_command": 8,
    "stream.cluster.collect_command": 9,
    "stream.cluster.guide": 3,
    "stream.cluster.outbox_id": 3,
    # processes put together
    "stream.reload": 6,
    "stream.run_folder": 6,
    "stream.child": 6,
    "stream.supervisor": 6,
    "stream.station": 6,
    "stream.programs": 7,
    "stream.machine": 8,
    # what the user calls
    "stream.replay": 8,
    "stream.evaluate": 8,
    "stream.evaluate.galleries": 9,  # enrolls as the command does
    "stream.evaluate.run": 9,
    "stream.evaluate.part": 9,
    "stream.evaluate.parts": 9,
    "stream.evaluate.table": 9,
    "stream.demo": 9,
    "stream.bench": 9,
    "stream.new_config": 3,
    "stream.init_command": 9,
    "stream.completion_command": 9,
    "stream.gallery_commands": 9,
    "stream.normal_commands": 9,
    "stream.tune_command": 9,
    "stream.enroll_choice": 3,
    "stream.drift_alerts": 5,
    "stream.drift_follow": 7,
    "stream.follow_command": 9,
    "stream.key_commands": 9,
    "stream.outbox_commands": 9,
    "stream.operator_commands": 9,
    "stream.commands": 9,
    "stream.feed_commands": 9,
    "stream.cli": 10,
    "stream.__main__": 11,
}

MAY_SCORE = {  # all others see scores, never how they are made
    "alerting",
    "bench",
    "capture",
    "cli",
    "commands",
    "console",  # shows versions of galleries and thumbnails; it loads no network
    "demo",
    "comparable",
    "drift_alerts",
    "drift_follow",
    "engine",
    "enroll",
    "evaluate",
    "follow_command",
    "footage",
    "gallery_add",
    "gallery_cache",
    "gallery_commands",
    "gallery_copy",
    "gallery_places",
    "gallery_shelf",
    "gallery_store",
    "gallery_store_commands",
    "lookout",
    "normal",
    "normal_commands",
    "normal_judge",
    "programs",
    "region_masks",
    "reader",
    "replay",
    "results",
    "sheet",
    "tune_command",
}

NO_TORCH = ("stream.reader", "stream.capture", "stream.link", "stream.feed", "stream.subscriber", "stream.programs")
NO_TORCH += ("stream.sinks.jsonl", "stream.sinks.stdout", "stream.sinks.runner", "stream.supervisor", "stream.machine")
NO_TORCH += ("stream.cli", "stream.live")
NO_TORCH += ("stream.cluster.worker_station", "stream.cluster.reader_station")
NO_TORCH += ("stream.sinks.registry", "stream.sinks.mqtt", "stream.sinks.webhook", "stream.sinks.kafka")
NO_TORCH += ("stream.sinks.zmq_publish",)
NO_TORCH += ("stream.cluster.subscriber", "stream.cluster.collect_command")


def modules(package: str) -> dict[str, Path]:
    """Every module of a package, by its dotted name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


STREAM, CORE = modules("stream"), modules("spade_core")
OURS = {**STREAM, **CORE}


def imported(tree: ast.AST, module: str, *, at_import: bool = False) -> Iterator[str]:
    """Names of our modules that a module imports, within functions too unless ``at_import``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (known(alias.name) for alias in node.names if known(alias.name))
        elif isinstance(node, ast.ImportFrom):
            yield from named_by(node, module)
        elif module == "stream" and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue  # the package's own face: types of what it hands out when it is asked
        elif not (at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            yield from imported(node, module, at_import=at_import)


def named_by(node: ast.ImportFrom, module: str) -> Iterator[str]:
    assert node.level == 0, f"{module} imports relatively; write the whole name"
    for alias in node.names:
        # ``from stream import commands`` means the module, ``from stream import __version__`` the package.
        if name := known(f"{node.module}.{alias.name}") or known(str(node.module)):
            yield name


def known(name: str) -> str:
    return name if name in OURS else ""


def imports_of(module: str, *, at_import: bool = False) -> set[str]:
    tree = ast.parse(OURS[module].read_text(encoding="utf-8"))
    return set(imported(tree, module, at_import=at_import)) - {module}


def layer_of(module: str) -> int | None:
    """The layer of the nearest entry: the module's own, or its package's (the top package stands for itself alone)."""
    name = module
    while name not in LAYERS and name.count(".") > 1:
        name = name.rpartition(".")[0]
    return LAYERS.get(name)


def run(program: str, *arguments: str, cwd: Path, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, *arguments],
        cwd=cwd,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TMPDIR": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_this_test_sees_imports_wherever_they_stand() -> None:
    lines = ("import stream.wire, os", "from stream import cli", "def f():", "    from stream.link import X")
    tree = ast.parse("\n".join((*lines, "from spade_core.errors import Y")))

    assert set(imported(tree, "m")) == {"stream.wire", "stream.cli", "stream.link", "spade_core.errors"}
    assert set(imported(tree, "m", at_import=True)) == {"stream.wire", "stream.cli", "spade_core.errors"}


@pytest.mark.parametrize("module", STREAM)
def test_every_module_has_its_layer(module: str) -> None:
    assert layer_of(module) is not None, f"{module} is not in LAYERS: say where it belongs"


@pytest.mark.parametrize("module", STREAM)
def test_no_module_imports_from_a_higher_layer(module: str) -> None:
    own = layer_of(module)
    higher = {name: layer_of(name) for name in imports_of(module) & STREAM.keys() if (layer_of(name) or 0) > (own or 0)}

    assert higher == {}, f"{module} is in layer {own}"


@pytest.mark.parametrize("module", CORE)
def test_the_method_knows_nothing_of_the_stream(module: str) -> None:
    assert imports_of(module) & STREAM.keys() == set()


@pytest.mark.parametrize("module", STREAM)
def test_only_some_modules_use_the_method(module: str) -> None:
    part = module.split(".")[1] if "." in module else ""

    assert part in MAY_SCORE or not imports_of(module) & CORE.keys()


def test_no_modules_import_one_another_in_a_circle() -> None:
    arrows = {module: imports_of(module, at_import=True) for module in OURS}
    while leaves := {module for module, others in arrows.items() if not others}:
        arrows = {module: others - leaves for module, others in arrows.items() if module not in leaves}

    assert arrows == {}


@pytest.mark.parametrize("module", NO_TORCH)
def test_what_runs_beside_every_camera_and_sink_does_not_load_torch(module: str, tmp_path: Path) -> None:
    program = "import importlib, json, sys; importlib.import_module(sys.argv[1]); print(json.dumps(list(sys.modules)))"
    loaded = set(json.loads(run(program, module, cwd=tmp_path, home=tmp_path)))

    assert module in loaded
    assert loaded & {"torch", "torchvision", "faiss"} == set()


def test_importing_starts_no_thread_and_makes_no_file(tmp_path: Path) -> None:
    program = """
import importlib, sys, threading
for name in sys.argv[1:]:
    importlib.import_module(name)
print([thread.name for thread in threading.enumerate()])
"""
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    names = sorted(OURS.keys() - {"stream.__main__"})

    assert run(program, *names, cwd=work, home=home).strip() == "['MainThread']"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["home", "work"]
