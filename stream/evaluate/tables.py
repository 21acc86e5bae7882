"""Ablation tables as lists of settings: what ``eval --table N`` runs, one variant after another. 6 and 7 are the
paper's; ``campus`` and ``bank`` take apart what this project adds to it.

Values only; nothing here runs anything. Which data, backbone and K a table is made with is the caller's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

ALL_LEVELS = (1, 2, 3)
"""Of the pyramid, 1 = finest: in the paper the ends of blocks 1 to 3, of 56, 28 and 14 cells a side at 224 pixels."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One line of a table."""

    label: str  # for people
    method_settings: Mapping[str, Any]  # keys of the configuration's ``method`` section; all others stay as they are

    @property
    def folder(self) -> str:
        """A name for the folder of its results: the label in small letters, digits and hyphens."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.label.lower()).split())


@dataclass(frozen=True, slots=True)
class Table:
    """One table."""

    name: str  # the paper's number, or a word of ours
    title: str
    paper: str  # what the paper concludes from it, on its own data; for our own tables, what the lines are
    variants: tuple[Variant, ...]


def _levels(*levels: int) -> Variant:
    words = " + ".join(str(level) for level in levels)
    return Variant(f"level {words}" if len(levels) == 1 else f"levels {words}", _spade(levels=levels))


def _spade(**settings: Any) -> Mapping[str, Any]:
    # Complete: what a variant does not vary is not left to whatever the command line says.
    return MappingProxyType({"name": "spade", "levels": ALL_LEVELS, "neighbours": "nearest", **settings})


def _campus(label: str, **settings: Any) -> Variant:
    return Variant(label, MappingProxyType({"name": "campus", **settings}))


def _bank(features: int) -> Variant:
    return _campus(f"{features} features of each place", bank=features)


TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            Table(
                name="6",
                title="Levels of the feature pyramid",
                paper=(
                    "In the paper: the finest level alone lacks context, the coarser ones alone lack resolution; "
                    "all of them together do best."
                ),
                variants=(
                    _levels(1),
                    _levels(2),
                    _levels(3),
                    _levels(1, 2),
                    _levels(1, 3),
                    _levels(2, 3),
                    _levels(*ALL_LEVELS),
                ),
            ),
            Table(
                name="7",
                title="Nearest against random normal images",
                paper="In the paper: comparing with the K nearest normal images does better than with K random ones.",
                variants=(
                    Variant("nearest K", _spade(neighbours="nearest")),
                    Variant("random K", _spade(neighbours="random", seed=0)),
                ),
            ),
            Table(
                name="campus",
                title="What each part of the campus method is worth",
                paper="Not in the paper: the method for fixed cameras, without one of its parts or with one alone.",
                variants=(
                    Variant("faithful SPADE", _spade()),
                    _campus("appearance alone", channels=("appearance",)),
                    _campus("appearance without averaging", channels=("appearance",), average=1),
                    _campus("appearance at its own place only", channels=("appearance",), reach=0),
                    _campus("motion alone", channels=("motion",)),
                    _campus("motion without memory", channels=("motion",), motion_memory=0.0),
                    _campus("appearance and motion", channels=("appearance", "motion")),
                    _campus("motion and persistence", channels=("motion", "persistence")),
                    _campus("all three"),
                ),
            ),
            Table(
                name="bank",
                title="How many features of each place do the work of all",
                paper="Not in the paper: the bank of places of the campus method, chosen by k-center.",
                variants=(_bank(32), _bank(64), _bank(128), _bank(512), _bank(5000)),
            ),
        )
    }
)
