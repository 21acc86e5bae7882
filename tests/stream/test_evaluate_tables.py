"""The paper's ablations as settings: each is one that the configuration accepts, and differs in what it is about."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from spade_core.methods import parameters_from
from spade_core.scorer import SpadeParameters
from stream.config import build_config
from stream.config_sections import MethodSection
from stream.evaluate.tables import TABLES, Table, Variant

VARIANTS = [(table, variant) for table in TABLES.values() for variant in table.variants]
PAPER = ("6", "7")
DEFAULTS = MethodSection().model_dump()


def section_of(variant: Variant) -> MethodSection:
    """The variant as it would stand in a file."""
    settings = {
        key: list(value) if isinstance(value, tuple) else value for key, value in variant.method_settings.items()
    }
    data = {"cameras": [{"id": "a", "source": "b"}], "method": settings}
    return build_config(data, where="table", base=Path("/base"), environment={}).method


def parameters_of(variant: Variant) -> SpadeParameters:
    parameters = parameters_from(section_of(variant).parameters())
    assert isinstance(parameters, SpadeParameters)
    return parameters


def test_the_tables_go_by_their_names() -> None:
    assert [(name, table.name) for name, table in TABLES.items()] == [
        (name, name) for name in (*PAPER, "campus", "bank")
    ]


@pytest.mark.parametrize(
    ("table", "variant"), VARIANTS, ids=lambda value: value.folder if isinstance(value, Variant) else value.name
)
def test_a_variant_is_what_the_configuration_accepts(table: Table, variant: Variant) -> None:
    section = section_of(variant)

    assert section.name == "spade" or table.name not in PAPER
    assert {key: getattr(section, key) for key in variant.method_settings} == dict(variant.method_settings)


def test_table_6_has_every_choice_of_levels_once_and_varies_nothing_else() -> None:
    chosen = [parameters_of(variant) for variant in TABLES["6"].variants]
    subsets = {levels for count in (1, 2, 3) for levels in itertools.combinations((1, 2, 3), count)}

    assert len(chosen) == len(subsets) == 7
    assert {parameters.levels for parameters in chosen} == subsets
    assert {SpadeParameters(levels=parameters.levels) for parameters in chosen} == set(chosen)


def test_table_7_sets_nearest_against_random_with_the_same_k_and_levels() -> None:
    nearest, random = (parameters_of(variant) for variant in TABLES["7"].variants)

    assert (nearest, random) == (SpadeParameters(), SpadeParameters(neighbours="random"))
    assert all("k" not in variant.method_settings for variant in TABLES["7"].variants), "K is for the command to say"


def test_the_last_line_of_table_6_and_the_first_of_table_7_are_the_papers_own_method() -> None:
    assert parameters_of(TABLES["6"].variants[-1]) == parameters_of(TABLES["7"].variants[0]) == SpadeParameters()


def test_the_campus_table_goes_from_the_faithful_method_to_the_whole_of_ours() -> None:
    first, *ours = (section_of(variant) for variant in TABLES["campus"].variants)
    changed = [
        [key for key in ("channels", "motion_memory", "bank", "average", "reach") if getattr(s, key) != DEFAULTS[key]]
        for s in ours
    ]

    assert first.name == "spade"
    assert changed[-1] == []
    assert all(changed[:-1]), "each other line leaves something out"
    assert len({str(s) for s in ours}) == len(ours)


def test_the_bank_table_varies_the_bank_alone_and_holds_the_default() -> None:
    sizes = [variant.method_settings["bank"] for variant in TABLES["bank"].variants]

    assert all(set(variant.method_settings) == {"name", "bank"} for variant in TABLES["bank"].variants)
    assert sizes == sorted(set(sizes))
    assert DEFAULTS["bank"] in sizes


@pytest.mark.parametrize("name", list(TABLES))
def test_labels_and_folders_tell_the_variants_apart(name: str) -> None:
    variants = TABLES[name].variants

    assert len({variant.label for variant in variants}) == len({v.folder for v in variants}) == len(variants)
    assert all(set(variant.folder) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for variant in variants)


def test_folders_by_hand() -> None:
    assert [variant.folder for variant in TABLES["6"].variants][2:4] == ["level-3", "levels-1-2"]
    assert [variant.folder for variant in TABLES["7"].variants] == ["nearest-k", "random-k"]


def test_nothing_can_be_changed_by_who_runs_a_table() -> None:
    with pytest.raises(TypeError):
        TABLES["6"].variants[0].method_settings["k"] = 9  # type: ignore[index]
