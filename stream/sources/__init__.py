"""Opens a source of frames from the text that a user gives for it, whatever it is.

This is where the forms of that text are defined; the implementations are imported only when one is opened, so that
checking a configuration loads no decoder. Used by ``reader``, ``enroll`` and ``evaluate``.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import parse_qsl

from stream.errors import SourceNotFound, SourceUnreachable
from stream.redact import redact_url
from stream.sources.base import Source, SourceFrame, SourceInfo

__all__ = [
    "Source",
    "SourceFrame",
    "SourceInfo",
    "check_source",
    "describe_source",
    "is_live",
    "is_looped",
    "local_path",
    "open_source",
]

URL_SCHEMES = ("rtsp", "rtsps", "http", "https")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")
LOOP = "loop:"
"""What stands before the name of a file or folder that is to be played over and over."""

_FORMS = (
    "use rtsp://, rtsps://, http:// or https://, a webcam's number, campus:, a video file, "
    "an image, a folder of images, or a folder of clips (or loop: and one of these files or folders)"
)


class _Kind(Enum):
    URL = "url"
    WEBCAM = "webcam"
    CAMPUS = "campus"
    LOOP = "loop"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class _Spec:
    kind: _Kind
    value: str


def open_source(spec: str, *, folder_fps: float = 10.0, open_timeout: float = 5.0, read_timeout: float = 5.0) -> Source:
    """The source that ``spec`` names, open.

    Args:
        spec: ``rtsp://``, ``rtsps://``, ``http://`` or ``https://`` address; the number of a webcam; ``campus:`` with
            an optional query (the synthetic scene); a video file; an image; a folder of images; a folder of clip
            folders; a folder of video files. A file or folder whose name is a number is written ``./7``. ``loop:``
            before a file or folder plays it over and over.
        folder_fps: frames per second of images in folders, which carry no time.
        open_timeout: seconds to wait for a camera to answer.
        read_timeout: seconds to wait for a camera's next frame.

    Raises:
        SourceNotFound: there is no such file or folder, it holds no frames, or ``spec`` has none of these forms.
        SourceUnreachable, SourceUnauthorized, SourceStalled, SourceCorrupt: see :mod:`stream.errors`.
    """
    parsed = _parse(spec)
    match parsed.kind:
        case _Kind.URL:
            from stream.sources.video import VideoSource

            return VideoSource(parsed.value, open_timeout=open_timeout, read_timeout=read_timeout)
        case _Kind.WEBCAM:
            from stream.sources.webcam import WebcamSource

            return WebcamSource(int(parsed.value))
        case _Kind.CAMPUS:
            from stream.sources.campus import open_campus

            return open_campus(dict(parse_qsl(parsed.value, keep_blank_values=True)))
        case _Kind.LOOP:
            from stream.sources.loop import LoopSource

            path = _existing(parsed)
            return LoopSource(lambda: _open_path(path, folder_fps))
        case _Kind.PATH:
            return _open_path(_existing(parsed), folder_fps)


def check_source(spec: str) -> None:
    """Finds what is wrong with ``spec`` without opening it.

    Raises:
        SourceNotFound: as :func:`open_source`, as far as it can be known from the text and the names on the disk.
        UsageError: a synthetic scene cannot be as it is asked for.
    """
    parsed = _parse(spec)
    if parsed.kind is _Kind.CAMPUS:
        from stream.sources.campus import CampusOptions

        CampusOptions.from_query(dict(parse_qsl(parsed.value, keep_blank_values=True))).script()
    if parsed.kind in (_Kind.PATH, _Kind.LOOP):
        _existing(parsed)


def describe_source(spec: str) -> str:
    """A name for logs and people, without credentials. Takes any text."""
    if is_looped(spec):
        return LOOP + describe_source(spec.removeprefix(LOOP))
    try:
        parsed = _parse(spec)
    except SourceNotFound:
        return redact_url(spec)
    match parsed.kind:
        case _Kind.WEBCAM:
            return f"webcam {int(parsed.value)}"
        case _Kind.URL:
            return redact_url(spec)
        case _:
            return spec


def is_live(spec: str) -> bool:
    """Whether frames come in real time whether or not they are read, judged by the text alone. Takes any text.

    A finite file on a web server counts as live here; once it is open, :class:`SourceInfo` knows better.
    """
    try:
        return _parse(spec).kind in (_Kind.URL, _Kind.WEBCAM)
    except SourceNotFound:
        return False


def is_looped(spec: str) -> bool:
    """Whether ``spec`` names a file or folder that is played over and over, judged by the text alone."""
    return spec.startswith(LOOP)


def local_path(spec: str) -> Path | None:
    """The file or folder that ``spec`` names, whether or not it exists; None for everything else. Takes any text."""
    try:
        parsed = _parse(spec)
    except SourceNotFound:
        return None
    return Path(parsed.value).expanduser() if parsed.kind is _Kind.PATH else None


def _parse(spec: str) -> _Spec:
    if re.fullmatch(r"[0-9]+", spec, re.ASCII):
        return _Spec(_Kind.WEBCAM, spec)
    if spec == "campus:" or spec.startswith("campus:?"):
        return _Spec(_Kind.CAMPUS, spec.removeprefix("campus:").removeprefix("?"))
    if is_looped(spec):
        return _parse_loop(spec.removeprefix(LOOP))
    if not spec.strip():
        raise SourceNotFound(f"the source is empty: {_FORMS}")
    prefix = _SCHEME.match(spec)
    if prefix and prefix[1].lower() in URL_SCHEMES and spec.startswith("//", prefix.end()):
        return _Spec(_Kind.URL, spec)
    if prefix and (spec.startswith("//", prefix.end()) or prefix[1].lower() in (*URL_SCHEMES, "campus")):
        raise SourceNotFound(f"{redact_url(spec)}: {_wrong_scheme(prefix[1].lower())}; {_FORMS}")
    return _Spec(_Kind.PATH, spec)


def _parse_loop(repeated: str) -> _Spec:
    try:
        of_it = _parse(repeated)
    except SourceNotFound as error:
        raise SourceNotFound(f"{LOOP} {error}") from None
    if of_it.kind is not _Kind.PATH:
        raise SourceNotFound(f"{LOOP}{describe_source(repeated)}: only a file or folder can be played over and over")
    return _Spec(_Kind.LOOP, of_it.value)


def _wrong_scheme(scheme: str) -> str:
    if scheme == "campus":
        return "what follows campus: must begin with ?"
    if scheme in URL_SCHEMES:
        return f"{scheme}: must be followed by //"
    close = difflib.get_close_matches(scheme, URL_SCHEMES, n=1)
    return f"unknown scheme {scheme}://" + (f", did you mean {close[0]}://?" if close else "")


def _existing(parsed: _Spec) -> Path:
    path = Path(parsed.value).expanduser()
    # os.path answers False for names that Path.exists() raises on (too long, forbidden).
    if not os.path.exists(path):
        raise SourceNotFound(f"{redact_url(parsed.value)}: no such file or folder; {_FORMS}")
    return path


def _open_path(path: Path, folder_fps: float) -> Source:
    if path.is_dir():
        from stream.sources.folder import open_folder

        return open_folder(path, fps=folder_fps)
    if not path.is_file():
        raise SourceUnreachable(f"{path}: is neither a file nor a folder; {_FORMS}")
    from stream.sources.folder import is_image, open_image

    if is_image(path):
        return open_image(path, fps=folder_fps)
    from stream.sources.video import VideoSource

    return VideoSource(path)
