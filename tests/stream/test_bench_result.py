"""A benchmark's result: to JSON and back, as a table, and two of them side by side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream.bench.result import BENCH_SCHEMA, BenchResult, Row, machine, quantile, timing
from stream.bench.table import compare, shown, table
from stream.cli import main
from stream.errors import UsageError

SLOW = Row("slow", {"median_ms": 30.0, "p95_ms": 40.5})
FAST = Row("fast", {"median_ms": 10.0, "p95_ms": None}, base="slow", ratio=1 / 3, note="two threads")
OTHER = Row("memory", {"mib": 1234.56})
RESULT = BenchResult("stages", {"size": 256}, (SLOW, FAST, OTHER), {"held": [4, 8]}, {"cores": 2})


def written(folder: Path, result: BenchResult, name: str = "result.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(result.to_json()), encoding="utf-8")
    return path


# -- values -----------------------------------------------------------------------------------------------------------


def test_a_result_comes_back_as_it_went(tmp_path: Path) -> None:
    assert BenchResult.read(written(tmp_path, RESULT)) == RESULT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not written by this version"),
        ('{"schema": "spade-stream/bench/0"}', f"its schema is not {BENCH_SCHEMA}"),
        (json.dumps({"schema": BENCH_SCHEMA, "kind": "link"}), "not well formed"),
        (json.dumps(RESULT.to_json() | {"rows": [{"name": "a"}]}), "not well formed"),
    ],
)
def test_what_is_no_result_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=rf"odd\.json: .*{message}"):
        BenchResult.read(path)


def test_a_result_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.json: cannot be read"):
        BenchResult.read(tmp_path / "none.json")


def test_timings_become_milliseconds_and_a_ratio_of_medians() -> None:
    base = timing("base", [0.004, 0.002, 0.003])
    row = timing("row", [0.006, 0.009, 0.001, 0.007], base=base, note="cold")
    assert base.figures == pytest.approx({"median_ms": 3.0, "p95_ms": 4.0, "least_ms": 2.0, "runs": 3.0})
    assert row.figures == pytest.approx({"median_ms": 6.0, "p95_ms": 9.0, "least_ms": 1.0, "runs": 4.0})
    assert (row.base, row.ratio, row.note) == ("base", pytest.approx(2.0), "cold")


@pytest.mark.parametrize(("q", "value"), [(0.0, 1.0), (0.5, 2.0), (0.51, 3.0), (0.95, 4.0), (1.0, 4.0)])
def test_a_quantile_is_the_value_that_so_many_do_not_exceed(q: float, value: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], q) == value


def test_the_machine_is_described_without_its_name() -> None:
    found = machine()
    assert found["cores"] >= 1
    assert found["device"] == "cpu"
    assert found["packages"]["torch"]
    assert not {"host", "hostname", "user"} & found.keys()
    json.dumps(found)


# -- the table --------------------------------------------------------------------------------------------------------


def test_rows_with_the_same_figures_stand_in_one_aligned_block() -> None:
    assert table(RESULT).split("\n") == [
        "      median_ms  p95_ms         ratio",
        "slow         30    40.5             -",
        "fast         10       -  0.333 x slow  two threads",
        "",
        "         mib",
        "memory  1235",
        "",
        "summary: held 4,8",
        "options: size 256",
        "machine: cores 2",
    ]


def test_a_table_without_ratios_has_no_column_for_them() -> None:
    assert table(BenchResult("link", {}, (SLOW,))).split("\n") == [
        "      median_ms  p95_ms",
        "slow         30    40.5",
    ]


def test_nested_facts_are_in_brackets_and_empty_ones_say_none() -> None:
    result = replace(RESULT, summary={"held": []}, options={"method": {"size": 128, "k": 1.5}, "out": None})
    assert "summary: held none\noptions: method (size 128, k 1.5)\n" in table(result)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (0.0, "0"),
        (12345.0, "12345"),
        (12345.6, "12346"),
        (123.4, "123"),
        (12.34, "12.3"),
        (1.234, "1.23"),
        (0.01234, "0.0123"),
        (-1.5, "-1.50"),
    ],
)
def test_figures_have_three_digits_that_count(value: float | None, text: str) -> None:
    assert shown(value) == text


# -- side by side -----------------------------------------------------------------------------------------------------

NEW = replace(
    RESULT,
    rows=(
        Row("slow", {"median_ms": 60.0, "p95_ms": 40.5}),
        Row("fast", {"median_ms": 15.0, "p95_ms": 20.0}, base="slow", ratio=0.25),
        Row("extra", {"mib": 1.0}),
    ),
)


def test_two_results_stand_side_by_side_ratios_first() -> None:
    assert compare(RESULT, NEW).split("\n") == [
        "      ratio to    old    new  new/old",
        "fast      slow  0.333  0.250    0.750",
        "",
        "         figure   old   new  new/old",
        "slow  median_ms    30    60        2",
        "slow     p95_ms  40.5  40.5        1",
        "fast  median_ms    10    15     1.50",
        "fast     p95_ms     -    20        -",
        "",
        "only in the old result: memory",
        "only in the new result: extra",
    ]


def test_other_machines_and_options_are_said_first() -> None:
    new = replace(NEW, machine={"cores": 16}, options={"size": 256, "fps": 5.0})
    assert compare(RESULT, new).split("\n")[:5] == [
        "The machines differ, so absolute figures do not compare; ratios within a run do:",
        "  cores: 2 | 16",
        "The options differ, so absolute figures do not compare; ratios within a run do:",
        "  fps: none | 5",
        "",
    ]


def test_a_ratio_to_another_base_is_not_compared() -> None:
    rows = (NEW.rows[0], replace(NEW.rows[1], base="extra"))
    assert "ratio to" not in compare(RESULT, replace(NEW, rows=rows))


def test_figures_that_grow_from_nothing_have_no_ratio() -> None:
    old, new = (BenchResult("link", {}, (Row("a", {"lost": lost}),)) for lost in (0.0, 3.0))
    assert compare(old, new).split("\n")[1] == "a    lost    0    3        -"


def test_different_benchmarks_do_not_compare() -> None:
    with pytest.raises(UsageError, match=r"'bench stages'.*'bench link'"):
        compare(RESULT, replace(RESULT, kind="link"))


def test_the_command_compares_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(written(tmp_path, result, f"{i}.json")) for i, result in enumerate((RESULT, NEW))]
    assert main(["bench", "compare", *files]) == 0
    assert capsys.readouterr().out == compare(RESULT, NEW) + "\n"


@pytest.mark.parametrize(
    "words",
    [
        ["--picture", "640"],
        ["--picture", "ax360"],
        ["--picture", "0x360"],
        ["--picture", "640x16385"],
        ["--cameras", ","],
        ["--cameras", "4,0"],
        ["--fps", "0"],
    ],
)
def test_options_that_cannot_be_used_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "cameras", *words])
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_the_log_level_belongs_to_the_action_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(
        "stream.bench.arguments.commands.compare", lambda arguments, stop: seen.update(vars(arguments)) or 0
    )
    assert main(["bench", "compare", "a", "b", "--log-level", "error"]) == 0
    assert (seen["log_level"], seen["process_name"]) == ("error", "compare")
