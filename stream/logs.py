"""How log lines look: for people, or one JSON object a line for programs. Set up by ``cli`` once in each process.

Whatever a message or an exception says, credentials in it are hidden (see ``redact``). The camera of a line is what was
given as ``extra={"camera": ID}``; or the first argument of a message that begins with ``camera %s``, as those do that
are about one camera; or the camera of the whole process.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Final, Literal, TextIO, get_args

from stream.messages import iso_time
from stream.redact import redact_text

Format = Literal["human", "json"]

FORMATS: Final[tuple[str, ...]] = get_args(Format)
"""What log lines can look like."""

_NAMES = ("camera %s", "camera %r")  # how messages about one camera begin

_log = logging.getLogger(__name__)


def set_up(
    level: str,
    *,
    process: str,
    form: str = "human",
    camera: str | None = None,
    stream: TextIO | None = None,
) -> None:
    """Makes this process log on standard error. A program around it that has set up logging itself keeps its own.

    Args:
        level: least level logged: debug, info, warning, error.
        process: named in every line.
        form: one of ``FORMATS``.
        camera: that all of this process is about; None: no one camera.
        stream: where to; None: standard error.
    """
    root = logging.getLogger()
    handlers = [handler for handler in root.handlers if not isinstance(handler, _Handler)]
    if handlers:
        return
    root.handlers[:] = [_Handler(stream or sys.stderr, process or "spade-stream", camera)]
    root.setLevel(level.upper())
    use(form)
    # It tells of every variant of itself that it did not find before the one that it loads.
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)


def use(form: str) -> None:
    """Changes how lines look from now on; for a process that only then knows what its configuration says."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.use(form)
            logging.captureWarnings(form == "json")  # Python writes them on standard error in lines of its own


def tell(line: str, *, level: int = logging.INFO) -> None:
    """A line for whoever started this process: as it is on standard error, and a log line where those are JSON.

    Args:
        line: what to say.
        level: of the log line; one for people shows whatever the least level is.
    """
    if any(isinstance(h, _Handler) and isinstance(h.formatter, JsonFormatter) for h in logging.getLogger().handlers):
        _log.log(level, "%s", line)
    else:
        print(f"spade-stream: {line}", file=sys.stderr, flush=True)


class HumanFormatter(logging.Formatter):
    """Time, first letter of the level, process, message.

    Args:
        process: name.
    """

    def __init__(self, process: str) -> None:
        name = process.replace("%", "%%")
        super().__init__(f"%(asctime)s %(levelname).1s {name}: %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The line; more lines where an exception goes with it."""
        return redact_text(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object: ``time``, ``level``, ``process``, ``logger``, ``message``; ``camera`` and ``exception`` where
    there is one.

    Args:
        process: name.
        camera: of records that name no other.
    """

    def __init__(self, process: str, camera: str | None = None) -> None:
        super().__init__()
        self._process, self._camera = process, camera

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields: dict[str, Any] = {
            "time": iso_time(record.created),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": redact_text(record.getMessage()),
        }
        if (camera := _camera_of(record) or self._camera) is not None:
            fields["camera"] = camera
        if record.exc_info:
            fields["exception"] = redact_text(self.formatException(record.exc_info))
        return json.dumps(fields)  # what is not ASCII is escaped: no terminal or pipe can be too old for it


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that it is known among others."""

    def __init__(self, stream: TextIO, process: str, camera: str | None) -> None:
        super().__init__(stream)
        self._process, self._camera = process, camera

    def use(self, form: str) -> None:
        self.setFormatter(
            JsonFormatter(self._process, self._camera) if form == "json" else HumanFormatter(self._process)
        )


def _camera_of(record: logging.LogRecord) -> str | None:
    if isinstance(named := getattr(record, "camera", None), str):
        return named
    about_one = isinstance(record.msg, str) and record.msg.startswith(_NAMES)
    if about_one and isinstance(record.args, tuple) and record.args:
        return str(record.args[0])
    return None
