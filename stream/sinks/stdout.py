"""Alerts for people, one line each, on a terminal or in a log."""

from __future__ import annotations

from typing import TextIO

from stream.errors import SinkError
from stream.messages import Alert, Evidence, Region, iso_time


class StdoutSink:
    """Writes to an open text stream, which stays the caller's to close."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def deliver(self, alert: Alert, evidence: Evidence) -> None:
        """One line, flushed; see :meth:`stream.sinks.base.Sink.deliver`."""
        try:
            self._stream.write(alert_line(alert) + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed, or cannot encode a name
            raise SinkError(f"alert {alert.seq} cannot be printed: {error}. Redirect the output to a file") from error

    def close(self) -> None:
        """Nothing to release."""


def alert_line(alert: Alert) -> str:
    """``2026-03-01T12:00:00.000Z gate START  2.31x threshold, 2 regions, largest 40x60 at (100, 20), scene ...``"""
    ratio = f"{alert.score / alert.threshold:.2f}x threshold" if alert.threshold > 0 else f"score {alert.score:.3g}"
    place = f" {_plain(alert.segment)}#{alert.frame_seq}" if alert.segment else ""
    return (
        f"{iso_time(alert.frame_time)} {_plain(alert.camera)}{place} {alert.phase.upper():<6} {ratio}, "
        f"{_regions(alert.regions)}, scene {_plain(alert.scene)}, alert {_plain(alert.alert_id)} (no. {alert.seq})"
    )


def _regions(regions: tuple[Region, ...]) -> str:
    if not regions:
        return "no region"
    x, y, width, height = max(regions, key=lambda region: region.area).bbox
    count = "1 region" if len(regions) == 1 else f"{len(regions)} regions, largest"
    return f"{count} {width}x{height} at ({x}, {y})"


def _plain(text: str) -> str:
    """Text that cannot steer a terminal or break the line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
