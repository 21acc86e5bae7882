"""The documents: generated pages are fresh, schemas fit what is published, examples work, links and commands exist."""

from __future__ import annotations

import ast
import copy
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

from stream.cli import main
from stream.cluster.directory import MAX_ASKED, MAX_REASON
from stream.feed import FeedServer
from stream.messages import (
    MAX_CAMERA,
    MAX_FRAME_PIXELS,
    MAX_FRAME_SIDE,
    MAX_SEGMENT,
    MAX_TEXT,
    Alert,
    Evidence,
    Neighbour,
    Phase,
    Region,
)
from stream.outbox import Outbox, OutboxReader
from stream.wire import (
    LIMITS,
    MAX_DOCUMENT_BYTES,
    MAX_DROPS,
    MAX_IMAGE_SIDE,
    MAX_META_BYTES,
    MAX_PART_BYTES,
    MAX_PAYLOADS,
    MAX_VIEW_BYTES,
    VERSION,
    Kind,
    decode,
    encode,
)

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("README.md"), *ROOT.glob("deploy/*.md")])
PATIENCE_S = 60.0  # how long a test waits for what must happen


def an_alert(phase: Phase, **changes: Any) -> Alert:
    """As it leaves the outbox, with everything that can be there."""
    values: dict[str, Any] = {
        "seq": 7,
        "alert_id": "gate-20261123T211530.400Z-1a2b3c4d",
        "phase": phase,
        "camera": "gate",
        "scene": "yard",
        "started_at": 1_700_000_000.25,
        "frame_time": 1_700_000_001.5,
        "frame_seq": 42,
        "score": 3.5,
        "threshold": 1.25,
        "regions": (Region(bbox=(0, 2, 3, 4), polygon=((0, 2), (4, 2), (4, 6)), area=9, peak=3.5),),
        "neighbours": (Neighbour(index=0, distance=0.0, source="day1", media_time=0.0),),
        "segment": "clip-3",
        "ended_at": 1_700_000_002.0 if phase is Phase.END else None,
        "mask": "m.png",
        "snapshot": "s.jpg",
        "why": {"appearance": 2.0, "motion": 1.5, "persistence": 0.0},
    }
    return Alert(**{**values, **changes})


# -- the alert schema -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The published one, itself checked."""
    read: dict[str, Any] = json.loads((DOCS / "alert.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(read)
    return read


def faults(schema: dict[str, Any], document: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema)
    return sorted(error.json_path for error in validator.iter_errors(document))


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_of_an_alert_fits_the_schema(schema: dict[str, Any], phase: Phase) -> None:
    assert faults(schema, an_alert(phase).to_json()) == []


def test_an_alert_without_regions_and_pictures_fits_the_schema(schema: dict[str, Any]) -> None:
    bare = an_alert(Phase.UPDATE, regions=(), neighbours=(), mask=None, snapshot=None, segment="")
    assert faults(schema, bare.to_json()) == []


def test_the_schema_lists_exactly_the_fields_that_are_published(schema: dict[str, Any]) -> None:
    published = an_alert(Phase.START, why={}).to_json()
    stored = an_alert(Phase.START, view="v.jpg", frame="f.npz", outbox="3f9a2c1d7b8e4051").to_json()
    assert set(schema["required"]) == set(published)
    assert set(schema["properties"]) == set(stored) == {*published, "view", "frame", "why", "outbox"}
    assert faults(schema, published) == faults(schema, stored) == []
    for field, kind in (("regions", "region"), ("neighbours", "neighbour")):
        assert set(schema["$defs"][kind]["required"]) == set(published[field][0])
        assert set(schema["$defs"][kind]["properties"]) == set(published[field][0])


def test_the_schema_allows_fields_of_later_versions(schema: dict[str, Any]) -> None:
    assert faults(schema, {**an_alert(Phase.START).to_json(), "temperature": 21}) == []


def _set(*path: str | int, to: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (_set("schema", to="spade-stream/alert/2"), "$.schema"),
        (_set("seq", to=0), "$.seq"),
        (_set("seq", to="7"), "$.seq"),
        (_set("alert_id", to="../7"), "$.alert_id"),
        (_set("phase", to="begin"), "$.phase"),
        (_set("started_at", to=1_700_000_000.25), "$.started_at"),
        (_set("frame_time", to="2026-11-23 21:15:30"), "$.frame_time"),
        (_set("ended_at", to="2026-11-23T21:15:30.400Z"), "$.ended_at"),  # an alert that starts has not ended
        (_set("frame_seq", to=-1), "$.frame_seq"),
        (_set("threshold", to=0), "$.threshold"),
        (_set("regions", 0, "bbox", to=[1, 2, 3]), "$.regions[0].bbox"),
        (_set("regions", 0, "bbox", 2, to=0), "$.regions[0].bbox[2]"),
        (_set("regions", 0, "polygon", 1, to=[4, 2, 0]), "$.regions[0].polygon[1]"),
        (_set("regions", 0, "area", to=9.5), "$.regions[0].area"),
        (_set("mask", to=""), "$.mask"),
        (_set("neighbours", 0, "index", to=-1), "$.neighbours[0].index"),
        (_set("neighbours", 0, "distance", to=None), "$.neighbours[0].distance"),
    ],
)
def test_the_schema_refuses_what_is_not_an_alert(
    schema: dict[str, Any], damage: Callable[[Any], None], where: str
) -> None:
    document = copy.deepcopy(an_alert(Phase.START).to_json())
    damage(document)
    assert faults(schema, document) == [where]


def test_an_end_says_when_it_was_over(schema: dict[str, Any]) -> None:
    assert faults(schema, an_alert(Phase.END, ended_at=None).to_json()) == ["$.ended_at"]


def test_the_example_in_the_page_is_an_alert(schema: dict[str, Any]) -> None:
    page = (DOCS / "alerts.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    example = json.loads(block)
    assert faults(schema, example) == []
    assert Alert.from_json(example).to_json() == example


def test_the_page_explains_every_field_of_an_alert() -> None:
    page = (DOCS / "alerts.md").read_text(encoding="utf-8")
    first_cells = " ".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))
    published = an_alert(Phase.START, view="v.jpg", frame="f.npz", outbox="3f9a2c1d7b8e4051").to_json()
    assert set(re.findall(r"`(\w+)`", first_cells)) == set(published)


# -- the configuration page -------------------------------------------------------------------------------------------


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_fault_matrix_is_what_the_tests_try() -> None:
    made = _load(DOCS / "make_faults.py").page()
    assert (DOCS / "faults.md").read_text(encoding="utf-8") == made, "stale: run 'make docs'"


def test_the_configuration_page_is_what_the_models_say() -> None:
    made = _load(DOCS / "make_configuration.py").page()
    assert (DOCS / "configuration.md").read_text(encoding="utf-8") == made, "stale: run 'make docs'"


@pytest.mark.parametrize(
    "row",
    [
        "| `fps` | number, > 0, <= 240, or `null` | `5.0` | Frames scored per second; `null`: every frame. |",
        "| `id` | text | required | ",
        "| `mode` | `auto`, `live`, `replay` | `auto` | ",
        "| `size` | whole number, >= 64, <= 1024, multiple of 32 | `256` | ",
        "| `min_duration` | number, >= 0, <= 3600 | `0.6` | ",
        "| `insecure` | `true`, `false` | `false` | ",
        "| `recorded_at` | time, or `null` | `null` | ",
    ],
)
def test_the_configuration_page_gives_type_bounds_and_default(row: str) -> None:
    assert f"\n{row}" in (DOCS / "configuration.md").read_text(encoding="utf-8")


def test_a_key_that_nobody_explained_stops_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = _load(DOCS / "make_configuration.py")
    monkeypatch.delitem(maker.TEXTS["meaning"], "cameras.id")
    with pytest.raises(ValueError, match=r"cameras\.id: explain it"):
        maker.page()


def test_an_explanation_of_a_key_that_is_gone_stops_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = _load(DOCS / "make_configuration.py")
    monkeypatch.setitem(maker.TEXTS["meaning"], "cameras.colour", "Its paint.")
    with pytest.raises(ValueError, match=r"no key: cameras\.colour"):
        maker.page()


# -- the wire format --------------------------------------------------------------------------------------------------


def test_the_wire_page_has_the_number_of_every_kind_and_every_limit() -> None:
    page = (DOCS / "wire.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| ([A-Z_]+) \| (\d+) \|", page, re.MULTILINE))
    assert rows == {(kind.name, str(kind.value)) for kind in Kind}
    assert (VERSION, MAX_META_BYTES, MAX_PART_BYTES, MAX_PAYLOADS) == (2, 1 << 20, 64 << 20, 4)
    assert (MAX_IMAGE_SIDE, MAX_VIEW_BYTES, MAX_DROPS) == (2048, 16 << 20, 64)
    assert (MAX_FRAME_SIDE, MAX_FRAME_PIXELS) == (16_384, 134_217_728)
    assert (MAX_CAMERA, MAX_SEGMENT, MAX_TEXT) == (64, 1024, 4096)
    assert {kind for kind, limits in LIMITS.items() if limits.payloads} == {
        Kind.FRAME,
        Kind.ALERT,
        Kind.LIVE,
        Kind.CLUSTER,
    }
    assert {kind for kind, limits in LIMITS.items() if limits.meta == 1 << 20} == {
        Kind.ALERT,
        Kind.OUTBOXES,
    }
    assert (MAX_DOCUMENT_BYTES, MAX_ASKED, MAX_REASON) == (16 << 20, 8, 500)
    assert {kind for kind, limits in LIMITS.items() if limits.meta == 16 << 20} == {Kind.STATUS}
    assert {limits.meta for limits in LIMITS.values()} == {16 << 20, 1 << 20, 64 << 10}


def test_the_example_needs_nothing_but_pyzmq_and_the_standard_library() -> None:
    tree = ast.parse((DOCS / "examples" / "subscriber.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported - sys.stdlib_module_names == {"zmq"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))


def test_the_example_encodes_as_the_program_does() -> None:
    example = _load(DOCS / "examples" / "subscriber.py")
    sent = [bytes(part) for part in encode(Kind.ALERT, {"first": 1, "last": 2}, [b"x"])]
    assert example.decode(sent) == (Kind.ALERT, {"first": 1, "last": 2}, [b"x"])
    assert decode(example.encode(Kind.ACK, {"seq": 3})).meta == {"seq": 3}
    with pytest.raises(ValueError, match="damaged"):
        example.decode([*sent[:2], b"y"])


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """A feed in a thread."""
    stop = threading.Event()
    with (
        OutboxReader(folder / "outbox", folder / "evidence") as outbox,
        FeedServer(f"ipc://{folder}/feed", outbox, dict) as feed,
    ):
        thread = threading.Thread(target=feed.run, args=(stop.is_set,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(PATIENCE_S)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for a socket's."""
    folder = Path(tempfile.mkdtemp(prefix="sp-"))
    yield folder
    shutil.rmtree(folder)


def test_the_example_receives_every_alert_after_since_also_over_a_restart_of_the_feed(short_folder: Path) -> None:
    def commit(number: int) -> None:
        alert = an_alert(Phase.START, alert_id=f"a{number}")
        outbox.commit(alert, Evidence(b"png", b"jpeg"))

    command = [sys.executable, str(DOCS / "examples" / "subscriber.py"), f"ipc://{short_folder}/feed", "1"]
    with (
        Outbox(short_folder / "outbox", short_folder / "evidence") as outbox,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        watchdog = threading.Timer(PATIENCE_S, process.kill)  # ends the output, so that no line is waited for in vain
        watchdog.start()
        try:
            for number in (1, 2, 3):
                commit(number)
            with serving(short_folder):
                first = [json.loads(process.stdout.readline())["seq"] for _ in range(2)]
                commit(4)
                live = json.loads(process.stdout.readline())
            commit(5)  # while there is no feed
            with serving(short_folder):
                later = json.loads(process.stdout.readline())
        finally:
            watchdog.cancel()
            process.kill()
    assert first == [2, 3]
    assert (live["seq"], live["alert_id"]) == (4, "a4")
    assert (later["seq"], later["alert_id"]) == (5, "a5")


# -- all pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_the_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    files = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    assert [file for file in files if not (page.parent / file).exists()] == []
    titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([\w-]*)\)", text)) - anchors == set()


def test_commands_that_documents_and_examples_show_exist(capsys: pytest.CaptureFixture[str]) -> None:
    shown: dict[str, str] = {}
    for file in [*PAGES, *ROOT.glob("configs/*.yaml"), *ROOT.glob("deploy/*.service")]:
        found = re.findall(r"(?:^|`|bin/|# +)spade-stream ([a-z]+)\b", file.read_text(encoding="utf-8"), re.MULTILINE)
        shown |= dict.fromkeys(found, file.name)
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = set(re.findall(r"^ {4}([a-z]+)(?:  |$)", capsys.readouterr().out, re.MULTILINE))
    assert {"run", "enroll", "check", "status", "alerts", "replay"} <= set(shown)
    assert {command: file for command, file in shown.items() if command not in commands} == {}


def test_the_architecture_page_names_every_module() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+?)(?:/|\.py)?`", page))
    modules = {path.stem for path in [*(ROOT / "stream").glob("*.py"), *(ROOT / "spade_core").glob("*.py")]}
    packages = {path.parent.name for path in (ROOT / "stream").glob("*/__init__.py")}
    assert {name for name in modules | packages if not name.startswith("__")} - named == set()
