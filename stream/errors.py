"""Every error that ``stream`` raises on purpose, as one tree. Anybody may import this module; it imports nothing.

``exit_code`` is what the command line returns when the error reaches the top:
1 = the work failed, 2 = wrong usage or configuration.

::

    StreamError                    1
    +-- ConfigError                2  the configuration, with every problem it has
    +-- UsageError                 2  a command-line value that cannot be used
    +-- DatasetError               2  a dataset is not where or what it was said to be
    +-- SourceError                1  a camera, file or folder
    |   +-- SourceNotFound         2  the file or folder does not exist
    |   +-- SourceUnreachable      1  it exists by name, but nothing answers or it cannot be opened
    |   +-- SourceUnauthorized     1  the camera refused the credentials
    |   +-- SourceStalled          1  no frame came within the time-out
    |   +-- SourceCorrupt          1  the stream cannot be decoded, or ends before its declared end
    +-- WireError                  1  a message that is not well formed
    +-- EndpointBusy               1  another process owns the endpoint
    +-- StateBusy                  1  another process runs on the state folder
    +-- KeyFileError               2  keys of the link or the feed are missing, open to others, or not well formed
    +-- LinkLost                   1  the peer at the other end of the link is gone or refused us
    |   +-- StationLost            1  a worker or reader station of the cluster is gone, or does not answer now
    +-- OutboxError                1  the alert store cannot be read or written
    |   +-- AlertRefused           1  it could be, but not with this alert: trying again is of no use
    +-- GalleryStoreError          1  the store that galleries are shared by cannot be read or written
    +-- SinkError                  1  a sink cannot deliver
    |   +-- SinkRefused            1  it is there, but takes this alert never: trying again for ever is of no use
    +-- OperatorSettingsError      1  what operators set while it runs cannot be read or written
    |   +-- SettingsConflict       1  somebody else has changed it meanwhile
    +-- ConsoleError               2  the console's users, token or certificate cannot be used
    |   +-- ConsoleStoreError      1  its store cannot be read or written now
    +-- ProcessFailed              1  a child process died and may not be restarted any more
        +-- ProcessMisconfigured   2  a child process says that it cannot work with this configuration
"""

from __future__ import annotations

from collections.abc import Sequence


class StreamError(Exception):
    """Base of all errors of this package."""

    exit_code = 1


class ConfigError(StreamError):
    """The configuration is wrong. Carries every problem found, not only the first.

    Args:
        where: the file, as the user named it.
        problems: one line each, beginning with the field (``cameras[1].fps: ...``).
    """

    exit_code = 2

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.where = where
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{where}: {len(self.problems)} problem{'s' * (len(self.problems) != 1)}\n{lines}")

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, tuple[str, ...]]]:
        # As an actor of Ray raises it, it goes to another process; by default only the message would, and not arrive.
        return type(self), (self.where, self.problems)


class UsageError(StreamError):
    """A value given on the command line cannot be used."""

    exit_code = 2


class DatasetError(StreamError):
    """A dataset is not there, has another layout than its name says, or labels that do not fit its frames."""

    exit_code = 2


class SourceError(StreamError):
    """A source of frames failed. The message never holds credentials."""


class SourceNotFound(SourceError):
    """The file or folder does not exist, or holds no frames."""

    exit_code = 2


class SourceUnreachable(SourceError):
    """The source cannot be opened: nothing answers, or what answers is not video."""


class SourceUnauthorized(SourceError):
    """The camera refused the user name or the password."""


class SourceStalled(SourceError):
    """No frame came within the read time-out."""


class SourceCorrupt(SourceError):
    """What came cannot be decoded, or the source ends before the end it declares."""


class WireError(StreamError):
    """A message breaks the wire format: wrong magic, version, part count, length or checksum."""


class EndpointBusy(StreamError):
    """Another process owns this endpoint (ZeroMQ itself would take it away silently)."""


class StateBusy(StreamError):
    """Another process runs on this state folder: two would write to the same alerts."""


class KeyFileError(StreamError):
    """A key file cannot be used. The message names the file and the remedy, and never holds anything of a key."""

    exit_code = 2


class LinkLost(StreamError):
    """The peer does not answer any more, or it refused this one with a reason."""


class OutboxWentBack(LinkLost):
    """An outbox gives numbers out a second time: it is back as an older copy of itself, or is another one."""


class StationLost(LinkLost):
    """A worker or reader station of a cluster did not answer.

    Args:
        reason: what happened, without secrets.
        dead: it is gone for good and has to be started again; False: it may answer again by itself.
    """

    def __init__(self, reason: str, *, dead: bool) -> None:
        self.dead = dead
        super().__init__(reason)


class OutboxError(StreamError):
    """The alert store cannot be opened, read or written."""


class AlertRefused(OutboxError):
    """The alert itself cannot be stored or published; the store works, and trying again changes nothing."""


class GalleryStoreError(StreamError):
    """The store that galleries are shared by cannot be read or written now. The message holds no credentials."""


class SinkError(StreamError):
    """A sink could not deliver an alert. The message holds no credentials.

    Args:
        message: what happened, and the remedy.
        again_after: seconds for which the other side asks to be left alone; None: it said nothing.
    """

    def __init__(self, message: str, *, again_after: float | None = None) -> None:
        self.again_after = again_after
        super().__init__(message)


class SinkRefused(SinkError):
    """The sink is there, and says of this very alert that it will never take it."""


class OperatorSettingsError(StreamError):
    """What operators have set (zones, sensitivity, snoozes) cannot be read or written; names the file."""


class SettingsConflict(OperatorSettingsError):
    """The settings have another revision than the one that a change was made for: somebody else was faster."""


class ConsoleError(StreamError):
    """What the console was given (users, token, certificate) cannot be used. The message holds no secret."""

    exit_code = 2


class ConsoleStoreError(ConsoleError):
    """The console's store cannot be opened, read or written."""

    exit_code = 1


class ProcessFailed(StreamError):
    """A supervised process failed more often than its restart budget allows."""


class ProcessMisconfigured(ProcessFailed):
    """A supervised process cannot work with this configuration, so that restarting it would change nothing."""

    exit_code = 2
