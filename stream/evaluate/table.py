"""``eval --table N``: every variant of one of the paper's tables, each a run of its own, then side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stream.durable import write_durably
from stream.errors import UsageError
from stream.evaluate.compare import run_compare
from stream.evaluate.options import EvalOptions
from stream.evaluate.run import Score, run_eval, score_all
from stream.evaluate.tables import TABLES
from stream.replay import prepare_folder
from stream.stopping import StopSignal

MARKER = "table.txt"


def run_table(options: EvalOptions, name: str, *, stopping: StopSignal, score: Score = score_all) -> int:
    """Runs all variants into ``OUT/VARIANT`` and compares them; returns the exit code.

    Of faithful SPADE the first variant enrolls; the others use its galleries, whose features are the same. Their
    thresholds would be set with other parameters, so that nothing is said of their alerts. A variant of ``campus``
    enrolls for itself, since its thresholds are its own.

    Raises:
        UsageError: another method than the table's is asked for.
    """
    table = TABLES[name]
    methods = {variant.method_settings["name"] for variant in table.variants}
    if options.method is not None and {options.method} != methods:
        raise UsageError(f"--table {name} is of {' and '.join(sorted(methods))}, not {options.method!r}")
    prepare_folder(options.out, marker=MARKER)
    write_durably(options.out / MARKER, f"Table {table.name}: {table.title}\n".encode())
    folders: list[Path] = []
    galleries = options.galleries
    for variant in table.variants:
        print(f"{variant.label}:", flush=True)
        parameters = {**options.parameters, **variant.method_settings}
        method = parameters.pop("name")
        folder = options.out / variant.folder
        variant_options = replace(options, out=folder, method=method, parameters=parameters, galleries=galleries)
        run_eval(variant_options, stopping=stopping, score=score)
        folders.append(folder)
        if method == "spade":
            galleries = galleries or folder / "galleries"
    title = f"Table {table.name}: {table.title}"
    return run_compare(folders, out=options.out, mixed=False, title=title, text=(table.paper,))
