"""Messages of a webhook in the form that a chat or a push service wants. Pure, but for reading a template's file.

A template is a JSON document. ``{name}`` in its texts is replaced after the JSON was read, and the result is written as
JSON again: no value can break out of its text, whatever it holds, and there is no engine whose language could be
misused. A text that is ``{name}`` and nothing else becomes the value itself, with its type. Braces are doubled to mean
themselves. A name that does not exist is an error at the start, not in the night when the first alert comes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from stream.errors import SinkError
from stream.messages import Alert
from stream.sinks.stdout import alert_line
from stream.sinks.trial import trial_alert

READY: Mapping[str, Any] = {
    # Slack, Mattermost, Rocket.Chat: an "incoming webhook".
    "slack": {"text": "*{camera}*: alert {phase}, {strength}x threshold\n{summary}"},
    # ntfy: POST to the server itself, not to a topic; needs ``values: {topic: ...}``.
    "ntfy": {
        "topic": "{topic}",
        "title": "{camera}: alert {phase}",
        "message": "{summary}",
        "tags": ["rotating_light"],
    },
    # Microsoft Teams: a workflow "when a webhook request is received".
    "teams": {
        "type": "message",
        "attachments": [
            {
                "contentType": "application/vnd.microsoft.card.adaptive",
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": [
                        {"type": "TextBlock", "weight": "Bolder", "text": "{camera}: alert {phase}"},
                        {"type": "TextBlock", "wrap": True, "text": "{summary}"},
                    ],
                },
            }
        ],
    },
}
"""Templates by name."""

_DEPTH = 32  # of a template's lists and objects: no service wants more
_MOST = 256 << 10  # bytes of a template's file


class Template:
    """A message made of an alert.

    Args:
        name: of a ready one, or a path of a JSON file.
        values: more names, with their texts.

    Raises:
        SinkError: the file is not there, is no JSON, or names what does not exist.
    """

    def __init__(self, name: str, values: Mapping[str, str]) -> None:
        self._document = READY[name] if name in READY else _read(Path(name))
        self._values = values
        try:
            self.fill(trial_alert(0.0))
        except (KeyError, ValueError) as error:
            known = ", ".join(sorted({*values_of(trial_alert(0.0)), *values}))
            problem = f"{{{error.args[0]}}} is no name" if isinstance(error, KeyError) else str(error)
            raise SinkError(f"template {name}: {problem}. There are: {known}; more in 'values'") from None

    def fill(self, alert: Alert) -> Any:
        """The message as a JSON value."""
        return _filled(self._document, {**values_of(alert), **self._values}, _DEPTH)


def values_of(alert: Alert) -> dict[str, Any]:
    """What a template can name: every field of the alert's JSON but pictures, and some made for people."""
    fields = alert.to_json()
    for name in ("mask", "snapshot", "clip"):
        del fields[name]
    strength = f"{alert.score / alert.threshold:.2f}" if alert.threshold > 0 else ""
    return {**fields, "strength": strength, "summary": alert_line(alert), "region_count": len(alert.regions)}


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return json.loads(file.read(_MOST))
    except OSError as error:
        ready = ", ".join(sorted(READY))
        raise SinkError(f"template {path}: {error.strerror}. Give a JSON file, or one of {ready}") from None
    except (ValueError, RecursionError) as error:
        raise SinkError(f"template {path}: is no JSON: {error}") from None


def _filled(part: Any, values: Mapping[str, Any], depth: int) -> Any:
    if depth == 0:
        raise ValueError(f"is deeper than {_DEPTH}")
    if isinstance(part, dict):
        return {_text(key, values): _filled(value, values, depth - 1) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, values, depth - 1) for value in part]
    return _value(part, values) if isinstance(part, str) else part


def _value(text: str, values: Mapping[str, Any]) -> Any:
    pieces = _pieces(text)
    return values[pieces[0][1]] if len(pieces) == 1 and pieces[0][0] == "" and pieces[0][1] else _text(text, values)


def _text(text: str, values: Mapping[str, Any]) -> str:
    return "".join(literal + ("" if name is None else _plain(values[name])) for literal, name in _pieces(text))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _pieces(text: str) -> list[tuple[str, str | None]]:
    """Literal text and the name behind it, in order."""
    pieces = []
    for literal, name, form, conversion in Formatter().parse(text):
        if form or conversion:
            raise ValueError(f"{text!r}: only {{name}} can stand in braces; double them to mean themselves")
        pieces.append((literal, name))
    return pieces
