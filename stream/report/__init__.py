"""The HTML report of a replay or an evaluation: build a :class:`Report`, hand it to :func:`write_report`."""

from stream.report.model import AlertCard, EventOutcome, Report, Timeline
from stream.report.page import render, write_report

__all__ = ["AlertCard", "EventOutcome", "Report", "Timeline", "render", "write_report"]
