"""Progress bars on standard error: lively on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(description: str, *, unit: str, total: int | None = None, scaled: bool = False) -> Any:
    """A tqdm bar, to be used as a context manager.

    Args:
        description: what is going on.
        unit: what is counted.
        total: how many there are; None = unknown.
        scaled: show kilo, mega, ...
    """
    interval = 0.5 if sys.stderr.isatty() else 15.0
    return tqdm(desc=description, unit=unit, total=total, unit_scale=scaled, file=sys.stderr, mininterval=interval)
