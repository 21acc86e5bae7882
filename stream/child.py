"""One process under supervision: started, listened to, killed when it hangs, started again when it dies.

Only ``supervisor`` and what describes processes to it use this.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from stream.errors import ProcessFailed, ProcessMisconfigured
from stream.messages import iso_time
from stream.pulse import RELOADED, Listener

log = logging.getLogger(__name__)

RESTART_AT_ONCE = 0.1
"""Seconds before the restart after a single death: what lived well before deserves no pause."""

RESTART_FIRST = 0.5
"""Seconds before the restart after a second death in a row; doubled with every further one."""

RESTART_MOST = 30.0
"""Longest pause before a restart, s."""

STABLE_AFTER = 60.0
"""A process that was at work (not: loading) for this many seconds is well: its next death counts as the first again."""

MOST_RESTARTS = 10
"""Deaths in a row after which a worker, feed or recording is given up: restarting won't mend what is wrong."""

START_LIMIT = 300.0
"""Seconds that a process may take until its main loop goes round: a worker may have to download its network first."""

WRONG_USAGE = 2
"""Exit code that says: the configuration is wrong. Starting again would not change it."""


class Stage(IntEnum):
    """Order of the drain; processes of one stage stop together."""

    READERS = 0
    WORKER = 1
    SINKS = 2  # and the console: whoever takes alerts
    FEED = 3


_NEVER_THE_END = (Stage.READERS, Stage.SINKS)  # one camera, or one receiver of alerts, must not take the others along
_NOT_STARTED = 1  # exit code of a process that could not even be started


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A process to keep running."""

    name: str
    argv: tuple[str, ...]  # holds no secret: everybody on the machine can read it
    stage: Stage
    ends: bool  # its end is final: exit 0 means that its work is done, anything else that it failed
    silence: float | None = None  # s without a sign of life after which it hangs; None: it gives none
    decides: bool = True  # a new configuration with which it dies at once is taken back; of a reader it never is
    environment: Mapping[str, str] | None = field(default=None, repr=False)  # may hold secrets; None: our own


def restart_pause(deaths: int) -> float:
    """Seconds before the restart after so many deaths in a row."""
    if deaths <= 1:
        return RESTART_AT_ONCE
    return float(min(RESTART_FIRST * 2 ** min(deaths - 2, 16), RESTART_MOST))


class Child:
    """One process of a specification, through all its lives.

    Args:
        spec: see there.
        monotonic: clock, s.
        wall: clock for people, Unix seconds.
        held: it is not started before :meth:`release`.
        on_trial: it runs with a configuration that may have to be taken back: see :attr:`failed_trial`.
    """

    def __init__(
        self,
        spec: ChildSpec,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        held: bool = False,
        on_trial: bool = False,
    ) -> None:
        self.spec = spec
        self._monotonic, self._wall = monotonic, wall
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts = 0  # in all
        self.exit_code: int | None = None  # of a process that has ended for good
        self.leaving = False  # it is asked to end, and not started again
        self.on_trial = on_trial
        self.failed_trial = ""  # how it died before its main loop went round once, while on trial
        self.untold = False  # it must still be told, or confirm, that there is a new configuration
        self.pulsed = False  # this life has given a sign of itself
        self._ever_pulsed = False  # this or an earlier one has
        self._held = held
        self._listener: Listener | None = None
        self._started_wall = 0.0
        self._at_work_mono: float | None = None  # since when this life is at work
        self._heard_mono = 0.0
        self._due_mono = 0.0  # when to start (again)
        self._deaths = 0  # in a row
        self._hung = 0  # how often it was killed because it hung
        self._hangs = False  # this life was
        self._hup_sent = False
        self._kill_mono: float | None = None  # when a leaving process is killed
        self._last_exit: str | None = None

    @property
    def alive(self) -> bool:
        """It runs now."""
        return self.process is not None and self.process.poll() is None

    @property
    def started(self) -> bool:
        """It was started, and what it does has begun as far as one can tell from here."""
        return self.exit_code is not None or self.pulsed or (self.alive and self.spec.silence is None)

    @property
    def state(self) -> str:
        """starting, running, stopping, waiting (for its restart), hung (the same, after it was killed), ended."""
        if self.alive:
            return "stopping" if self.leaving else "running" if self.started else "starting"
        if self.exit_code is not None or self.leaving:
            return "ended"
        return "hung" if self._hangs else "waiting"

    def report(self) -> dict[str, Any]:
        """JSON-able form, for ``status``."""
        return {
            "state": self.state,
            "pid": self.process.pid if self.process and self.alive else None,
            "restarts": self.restarts,
            "hung": self._hung,
            "last_exit": self._last_exit,
            "started": iso_time(self._started_wall) if self._started_wall else None,
        }

    def tend(self) -> None:
        """Does what is due now; to be called often.

        Raises:
            ProcessFailed: it is given up.
            ProcessMisconfigured: it says that it cannot work with its configuration.
        """
        if self.exit_code is not None or self._held:
            return
        if self.process is None:
            if not self.leaving and self._monotonic() >= self._due_mono:
                self._start()
            return
        code = self.process.poll()
        self._listen()
        if code is not None:
            self._bury(code)
        elif self.leaving:
            self._kill_when_due()
        elif silent := self._too_long_silent():
            log.error("%s hangs (%s): killed", self.spec.name, silent)
            self._hung, self._hangs = self._hung + 1, True
            self.signal(signal.SIGKILL)

    def release(self) -> None:
        """Lets a held process start."""
        self._held = False

    def excuse(self) -> None:
        """Its silence so far counts for nothing: the supervisor itself stood still."""
        self._heard_mono = self._monotonic()

    def leave(self, *, within: float) -> None:
        """Asks it to end, and kills it after so many seconds. It is not started again. May be called twice."""
        if not self.leaving:
            self.leaving, self._kill_mono = True, self._monotonic() + within
            self.signal(signal.SIGTERM)

    def tell_reload(self) -> None:
        """Asks it to read its configuration again, as soon as it can be asked; ``untold`` until it has confirmed."""
        # One that waits for its start will read the new one anyway; one that starts now may have read the old one.
        self.untold, self._hup_sent = self.alive, False
        self._send_hup()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it runs."""
        if self.process and self.process.poll() is None:
            os.kill(self.process.pid, number)

    def ended(self) -> None:
        """Lets go of a process that is not tended any more."""
        if self.process and (code := self.process.poll()) is not None:
            self._last_exit = how(code)
        self._close()

    def _start(self) -> None:
        try:
            self._launch()
        except OSError as error:  # no memory, too many processes or files: the others go on, and may give some back
            self._close()
            self._last_exit = f"could not be started: {error.strerror}"
            self._died(_NOT_STARTED, self._last_exit)

    def _launch(self) -> None:
        self._at_work_mono, self.pulsed = None, False  # even if it cannot be started
        argv, keep = self.spec.argv, list[int]()
        if self.spec.silence is not None:
            self._listener = Listener()
            keep = [self._listener.descriptor]
            argv = (*argv, "--pulse", str(self._listener.descriptor))
        # A session of its own: Ctrl-C on the terminal reaches the supervisor alone, which then drains in order.
        self.process = subprocess.Popen(
            argv, start_new_session=True, stdin=subprocess.DEVNULL, pass_fds=keep, env=self.spec.environment
        )
        if self._listener:
            self._listener.started()
        self._heard_mono, self._started_wall = self._monotonic(), self._wall()
        self._hangs, self.untold = False, False
        self._at_work_mono = None if self._listener else self._heard_mono  # without one, no more is known of it
        self.on_trial = self.on_trial and self._listener is not None  # else nothing would ever end the trial
        log.debug("%s started, process %d", self.spec.name, self.process.pid)

    def _listen(self) -> None:
        words = self._listener.heard() if self._listener else b""
        if not words:
            return
        self._heard_mono, self.on_trial = self._monotonic(), False
        if not self.pulsed:
            self.pulsed, self._ever_pulsed, self._at_work_mono = True, True, self._heard_mono
        if RELOADED in words and self._hup_sent:
            self.untold = False
        self._send_hup()

    def _send_hup(self) -> None:
        # Before its first sign of life it may not have taken the signal over yet, and would die of it.
        if self.untold and not self._hup_sent and self.started:
            self._hup_sent = True
            self.signal(signal.SIGHUP)

    def _too_long_silent(self) -> str:
        """What is wrong, in words; empty where nothing is."""
        if self.spec.silence is None or self._hangs:
            return ""
        silent = self._monotonic() - self._heard_mono
        if not self.pulsed:
            return f"not at work after {silent:.0f} s" if silent > START_LIMIT else ""
        return f"no sign of life for {silent:.0f} s" if silent > self.spec.silence else ""

    def _kill_when_due(self) -> None:
        if self._kill_mono is not None and self._monotonic() >= self._kill_mono:
            self._kill_mono = None
            log.error("%s did not end in time: killed", self.spec.name)
            self.signal(signal.SIGKILL)

    def _bury(self, code: int) -> None:
        self._close()
        self.process, self.untold, self._last_exit = None, False, how(code)
        if self.leaving:
            return
        if self.spec.ends and code >= 0:  # a signal is no answer of its own: that one is started again
            self.exit_code = code
            return
        # What has worked with its configuration may say 2 of something that passes: a file that is being replaced.
        wrong = code == WRONG_USAGE and not self._ever_pulsed and self.spec.stage not in _NEVER_THE_END
        if wrong and not self.on_trial:
            raise ProcessMisconfigured(f"{self.spec.name} cannot work with this configuration (its message is above)")
        self._died(code, how(code))

    def _died(self, code: int, why: str) -> None:
        if self.on_trial:  # whoever put it on trial decides
            self.on_trial, self.failed_trial = False, why
        now, since = self._monotonic(), self._at_work_mono
        self._deaths = 1 if since is not None and now - since > STABLE_AFTER else self._deaths + 1
        if self._deaths > MOST_RESTARTS and self._give_up(code, why):
            return
        pause = restart_pause(self._deaths)
        self._due_mono, self.restarts = now + pause, self.restarts + 1
        log.error("%s died (%s); restart %d in %.1f s", self.spec.name, why, self.restarts, pause)

    def _give_up(self, code: int, why: str) -> bool:
        """An endless reader and a sink are tried for ever; a recording has failed; without the others nothing works."""
        if self.spec.stage not in _NEVER_THE_END:
            raise ProcessFailed(f"{self.spec.name} died {self._deaths} times in a row ({why}); giving up")
        if self.spec.ends:
            log.error("%s died %d times in a row (%s); giving up", self.spec.name, self._deaths, why)
            self.exit_code = code
        return self.spec.ends

    def _close(self) -> None:
        if self._listener:
            self._listener.close()
            self._listener = None


def how(code: int) -> str:
    """An exit code in words."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
