"""Brings alerts that lie aside to their sink again, when what stood in the way was mended. For ``programs``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from stream.errors import SinkError, SinkRefused
from stream.messages import Alert, Evidence
from stream.sinks.base import Sink
from stream.sinks.rejected import Rejected, read_rejected

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went."""

    taken: int  # are delivered and lie there no more
    left: int  # lie there still
    problem: str  # of the last that was left; empty: there is none


def bring_again(sink: Sink, rejected: Rejected, pictures: Callable[[Alert], tuple[Alert, Evidence]]) -> Outcome:
    """Delivers every alert that lies aside, in order, once, and removes those that were taken.

    What the sink refuses stays where it is, and the next one goes on. Where the sink is not there, all stop.

    Args:
        sink: open.
        rejected: where they lie.
        pictures: finds the pictures of an alert, as far as they are still kept.
    """
    taken, problem = 0, ""
    for path in rejected.files():
        try:
            alert = read_rejected(path)
        except SinkError as error:  # a damaged file keeps back no other
            problem = str(error)
            continue
        try:
            if sink.deliver(*pictures(alert)) is False:
                problem = f"{path.name}: the sink leaves out messages of this kind"
                continue
            path.unlink(missing_ok=True)
            taken += 1
        except OSError as error:
            problem = f"{path}: was delivered, but cannot be removed: {error.strerror}"
            break
        except SinkRefused as error:
            problem = str(error)
            _log.error("%s", error)
        except SinkError as error:
            problem = str(error)
            break
    return Outcome(taken, len(rejected), problem)
