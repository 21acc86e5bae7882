"""``python -m stream``: the same as ``spade-stream``."""

from stream.cli import entry

entry()
