"""``metrics.json``, its schema and the page that explains it say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from stream.cli import main
from stream.evaluate.datasets import DATASETS
from stream.evaluate.document import SCHEMA as NAME
from stream.evaluate.names import FIGURES
from stream.evaluate.options import METHODS

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = json.loads((DOCS / "metrics.schema.json").read_text(encoding="utf-8"))
PAGE = (DOCS / "evaluation.md").read_text(encoding="utf-8")


def test_the_schema_is_one_and_names_what_is_there() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    keys = SCHEMA["properties"]
    assert set(SCHEMA["required"]) == set(keys)
    assert keys["schema"]["const"] == NAME
    assert set(keys["dataset"]["enum"]) == set(DATASETS)
    assert set(keys["method"]["enum"]) == set(METHODS)
    assert {figure.key for figure in FIGURES} <= set(keys)


def test_the_page_explains_every_key() -> None:
    table = PAGE.partition("## The keys of `metrics.json`")[2].partition("\n## ")[0]
    first_cells = " ".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", first_cells)) == set(SCHEMA["properties"])


@pytest.mark.parametrize("rows", ["per_scene", "per_clip"])
def test_the_page_lists_the_keys_of_every_row(rows: str) -> None:
    [line] = [line for line in PAGE.splitlines() if line.startswith(f"| `{rows}` |")]
    assert set(re.findall(r"`(\w+)`", line)) - {rows} == set(SCHEMA["properties"][rows]["items"]["required"])


def test_every_option_that_the_page_shows_exists(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["eval", "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) - options == set()
    for dataset in DATASETS:
        assert f"`{dataset}`" in PAGE
