"""How far each outbox of a cluster was collected, and what of it was lost for good: a small file, for people and the
status. Where to go on is known by the outboxes themselves. For ``collector``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.fields import as_list, as_object, as_whole, read_object, whole
from stream.health import write_status
from stream.subscriber import Gap

MAX_GAPS = 100
"""Of one outbox that are remembered, the newest: each is in the log, too."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Taken:
    """One outbox."""

    seq: int = 0  # the last number that is stored here
    gaps: tuple[Gap, ...] = ()  # removed by retention there, before they came here

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"taken": self.seq, "gaps": [[gap.first, gap.last] for gap in self.gaps]}


class Collected:
    """All outboxes, by id. A file that cannot be read or written only says less: it is told in the log.

    Args:
        path: of the file; need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.outboxes: dict[str, Taken] = {}
        self._changed = False
        try:
            found = read_object(path.read_bytes())
            self.outboxes = {name: _taken(as_object(data, name)) for name, data in found.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            _log.warning("%s: how far outboxes were collected is not known: %s", path, error)

    def take(self, outbox: str, seq: int) -> None:
        """Everything up to ``seq`` is stored here."""
        known = self.outboxes.setdefault(outbox, Taken())
        if seq > known.seq:
            known.seq, self._changed = seq, True

    def lose(self, outbox: str, gap: Gap) -> bool:
        """A gap; returns whether it is a new one."""
        known = self.outboxes.setdefault(outbox, Taken())
        if gap in known.gaps:
            return False
        known.gaps = (*known.gaps, gap)[-MAX_GAPS:]
        self._changed = True
        return True

    def write(self) -> None:
        """Brings it to the disk, where it has changed."""
        if not self._changed:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            _log.error("%s: cannot be made: %s", self._path.parent, error.strerror)
            return
        self._changed = not write_status(self._path, {name: taken.to_json() for name, taken in self.outboxes.items()})


def _taken(data: Any) -> Taken:
    pairs = [as_list(pair, "gaps", least=2, most=2) for pair in as_list(data.get("gaps"), "gaps", most=MAX_GAPS)]
    return Taken(whole(data, "taken"), tuple(Gap(*(as_whole(seq, "gaps") for seq in pair)) for pair in pairs))
