"""What an operator calls normal joins the gallery, after its history was scored again with and without it.

A gallery is a set of normal frames, so that is all there is to it: a new version with the alert's frame, or only one
region of it. Before anything is written the stored alerts of the scene are scored against the old and the new version:
an operator sees what would have been silenced, and a real alert among it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.preprocess import Preprocess
from stream.errors import UsageError
from stream.kept_frame import KeptFrame, decode_kept
from stream.messages import Alert, Phase
from stream.outbox import OutboxReader
from stream.region_masks import OUTLINE, overlap, region_mask

MOST_FRAMES: Final = 8
"""Frames of one alert that join a gallery: an alert of an hour has hundreds that show the same."""

SAME_PLACE: Final = 0.5
"""Overlap of two regions' boxes (intersection over union) from which they show one thing at one place."""

SHOWN: Final = (Phase.START, Phase.END)
"""Messages that an alert is scored again by: the frame that confirmed it, and its strongest."""

_BATCH = 500  # alert messages read at once

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rescored:
    """An alert, scored against the old and the new version."""

    alert_id: str
    before: float  # strength: score in thresholds; above 1 it alerts
    after: float
    real: bool = False  # an operator called it real

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        found = {"alert_id": self.alert_id, "before": self.before, "after": self.after}
        return {**found, "real": True} if self.real else found


@dataclass(frozen=True, slots=True)
class History:
    """What the new version makes of the alerts of the last days."""

    rescored: int  # alerts that could be judged
    not_rescored: int  # that could not: frames are gone, or single ones, or those of this scene, do not tell
    silenced: tuple[Rescored, ...]  # would not have been raised; real ones first, then the strongest
    kept: tuple[Rescored, ...]  # would have been raised all the same; the strongest first


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What is to become normal."""

    alert: Alert  # the message that it is chosen from
    frame: KeptFrame
    inside: NDArray[np.bool_] | None  # (S, S) the region that joins; None = all of it


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What is to become normal of an alert, in one scene."""

    scene: str  # whose gallery it joins
    chosen: tuple[Chosen, ...]
    left_out: int  # frames that the alert shows of other scenes: they say nothing of this one


Judge = Callable[[KeptFrame, NDArray[np.bool_] | None], tuple[float, float]]
"""(frame, (S, S) pixels that have always looked like that; None = none) -> strength by the old version and by the new.
"""


def chosen_frames(
    outbox: OutboxReader,
    alert_id: str,
    *,
    message: Phase | None,
    regions: Sequence[int],
    preprocess: Preprocess,
    seen: int | None = None,
) -> Choice:
    """What an operator points at, of the scene that the strongest of the wanted messages shows.

    An alert may go on while another scene of its camera comes into force (day and night): frames by infrared light in
    the gallery of the day would make much more normal by day than anybody said.

    Args:
        outbox: that holds the alert.
        alert_id: which.
        message: only the frames of these messages; None = all of them.
        regions: their places in ``Alert.regions`` of the strongest of these messages; none = the whole frame. Of the
            scene's other messages those regions are taken that lie at the same place, as of a thing that stands there.
        preprocess: of the scoring images.
        seen: sequence number of the message whose regions are meant, as somebody saw them; None = the strongest. An
            alert that goes on may have a stronger one by now.

    Raises:
        UsageError: there is no such alert, message, region or stored frame; says what is there.
        OutboxError: the outbox cannot be read.
    """
    messages = outbox.of_alert(alert_id)
    if not messages:
        raise UsageError(f"there is no alert {alert_id!r} in {outbox.path}: it was removed, or is another machine's")
    wanted = [alert for alert in messages if message is None or alert.phase is message]
    if not wanted:
        there = ", ".join(dict.fromkeys(str(alert.phase) for alert in messages))
        raise UsageError(f"alert {alert_id} has no message {str(message)!r}; it has: {there}")
    scene = _strongest(wanted).scene
    elsewhere = _once_a_frame([alert for alert in wanted if alert.scene != scene])
    wanted = [alert for alert in wanted if alert.scene == scene]
    places = _regions_in(wanted, regions, seen) if regions else {}
    found = []
    for alert in _spread([one for one in _once_a_frame(wanted) if places.get(one.seq, True)], MOST_FRAMES):
        if (frame := _frame_of(outbox, alert)) is not None:
            inside = _inside(outbox, alert, places[alert.seq], preprocess) if regions else None
            found.append(Chosen(alert, frame, inside))
    if not found:
        raise UsageError(
            f"alert {alert_id}: none of its frames was kept, so it cannot join the gallery. An older version stored "
            "it, or the disk was full. Add a picture instead: 'spade-stream gallery add'"
        )
    return Choice(scene, tuple(found), len(elsewhere))


def rescored(
    outbox: OutboxReader,
    *,
    scene: str,
    since: float,
    always: str,
    judge: Judge,
    preprocess: Preprocess,
    real: Collection[str],
    on_progress: Callable[[int, int], None],
) -> History:
    """Scores the stored alerts of a scene again.

    An alert counts as silenced only where every frame that is kept of its start and its end falls to the threshold or
    below it. One that lasted (channel ``persistence``) is scored as if its regions had always looked like that: if even
    so it stays below, it is silenced for sure, for nothing outside them had lasted; if only without that, nobody can
    tell, and it is not rescored. Nor is one that falls silent here, but went on in another scene, whose gallery stays.

    Args:
        outbox: that holds them.
        scene: whose alerts.
        since: Unix seconds; alerts that were committed before are left out.
        always: an alert that is scored whenever it was.
        judge: scores one frame.
        preprocess: of the scoring images.
        real: ids of alerts that an operator called real.
        on_progress: told (alerts done, alerts in all); may raise.
    """
    alerts = _by_alert(outbox, scene, since, always)
    judged: list[Rescored | None] = []
    for done, (alert_id, messages) in enumerate(alerts.items()):
        on_progress(done, len(alerts))
        here = [alert for alert in messages if alert.scene == scene]
        one = _rescored(outbox, here, judge, preprocess, alert_id in real)
        judged.append(None if one is not None and one.after <= 1 and len(here) < len(messages) else one)
    on_progress(len(alerts), len(alerts))
    found = sorted((one for one in judged if one is not None), key=lambda one: (not one.real, -one.before))
    return History(
        rescored=len(found),
        not_rescored=len(judged) - len(found),
        silenced=tuple(one for one in found if one.after <= 1 < one.before),
        kept=tuple(one for one in found if one.after > 1),
    )


def _rescored(
    outbox: OutboxReader, messages: Sequence[Alert], judge: Judge, preprocess: Preprocess, real: bool
) -> Rescored | None:
    alert_id = messages[0].alert_id
    frames = [frame for alert in messages if (frame := _frame_of(outbox, alert)) is not None]
    if len(frames) < len(messages):  # what is lost may be what alerted
        return None
    before, after = _strongest_of([judge(frame, None) for frame in frames])
    if after > 1 or all(alert.why.get("persistence", 0.0) < 1 for alert in messages):
        return Rescored(alert_id, before, after, real)
    places = [place_of(outbox, alert, preprocess) for alert in messages]
    held = _strongest_of([judge(frame, place) for frame, place in zip(frames, places, strict=True)])
    return Rescored(alert_id, max(before, held[0]), held[1], real) if held[1] <= 1 else None


def _strongest_of(strengths: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return max(before for before, _ in strengths), max(after for _, after in strengths)


def place_of(outbox: OutboxReader, alert: Alert, preprocess: Preprocess) -> NDArray[np.bool_]:
    """(S, S) bool, pixels of the scoring image where an alert was; everywhere, if that cannot be told any more."""
    size = _size_of(outbox, alert)
    if size is None:
        return np.ones((preprocess.side, preprocess.side), np.bool_)
    return region_mask(alert.regions, [], size=size, preprocess=preprocess, growth=OUTLINE)


def _by_alert(outbox: OutboxReader, scene: str, since: float, always: str) -> Mapping[str, list[Alert]]:
    """The messages that each alert of a scene is judged by, those of other scenes among them; newest alert last."""
    alerts: dict[str, list[Alert]] = {}
    for alert in (*_committed_since(outbox, since), *outbox.of_alert(always)):
        messages = alerts.setdefault(alert.alert_id, [])
        if alert.phase in SHOWN and all(alert.frame_seq != other.frame_seq for other in messages):
            messages.append(alert)
    return {name: messages for name, messages in alerts.items() if any(one.scene == scene for one in messages)}


def _committed_since(outbox: OutboxReader, since: float) -> Iterator[Alert]:
    last = 0
    while kept := outbox.kept_after(last, limit=_BATCH):
        if kept[-1].committed_at >= since:
            break
        last = kept[-1].seq
    times = {one.seq: one.committed_at for one in kept}
    while alerts := outbox.read_after(last, limit=_BATCH):
        yield from (alert for alert in alerts if times.get(alert.seq, since) >= since)
        last = alerts[-1].seq


def _frame_of(outbox: OutboxReader, alert: Alert) -> KeptFrame | None:
    only_that = replace(alert, mask=None, snapshot=None, clip=None, view=None)
    data = outbox.evidence_of(only_that).frame_npz
    try:
        return decode_kept(data) if data else None
    except ValueError as error:
        log.warning("alert %s: what was scored cannot be read again: %s", alert.alert_id, error)
        return None


def _strongest(messages: Sequence[Alert]) -> Alert:
    """The message that shows the strongest frame; of equals the first, whose regions the console numbers, too."""
    return max(messages, key=lambda alert: (alert.score / alert.threshold, -alert.seq))


def _once_a_frame(messages: Sequence[Alert]) -> list[Alert]:
    return list({alert.frame_seq: alert for alert in messages}.values())


def _spread(alerts: Sequence[Alert], most: int) -> list[Alert]:
    """At most so many, evenly spaced, the first and the last among them."""
    places = np.unique(np.linspace(0, len(alerts) - 1, min(most, len(alerts))).round().astype(int))
    return [alerts[place] for place in places]


def _regions_in(messages: Sequence[Alert], regions: Sequence[int], seen: int | None) -> dict[int, list[int]]:
    """By ``seq`` the numbers of the regions that are meant: those of the message that was seen, else the strongest, and
    what overlaps them."""
    meant_in = _strongest(messages) if seen is None else next((one for one in messages if one.seq == seen), None)
    if meant_in is None:
        raise UsageError(
            f"alert {messages[0].alert_id}: its message {seen} is gone, is of another kind, or shows another scene "
            "than its strongest: look at its regions again"
        )
    for number in regions:
        if not 0 <= number < len(meant_in.regions):
            there = f"0 to {len(meant_in.regions) - 1}" if meant_in.regions else "none"
            raise UsageError(
                f"alert {meant_in.alert_id} has no region {number} in its {meant_in.phase} message; it has {there}"
            )
    meant = [meant_in.regions[number] for number in regions]
    places = {
        alert.seq: [n for n, one in enumerate(alert.regions) if any(overlap(one, r) >= SAME_PLACE for r in meant)]
        for alert in messages
    }
    return {**places, meant_in.seq: list(regions)}


def _size_of(outbox: OutboxReader, alert: Alert) -> tuple[int, int] | None:
    """(width, height) of an alert's native frame, which its mask has too; None where that is lost."""
    png = outbox.evidence_of(replace(alert, snapshot=None, clip=None, view=None, frame=None)).mask_png
    mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) if png else None
    return None if mask is None else (mask.shape[1], mask.shape[0])


def _inside(outbox: OutboxReader, alert: Alert, regions: Sequence[int], preprocess: Preprocess) -> NDArray[np.bool_]:
    size = _size_of(outbox, alert)
    if size is None:
        raise UsageError(
            f"alert {alert.alert_id}: its mask is lost, so that a region of it cannot be placed. Choose the whole frame"
        )
    others = [region for number, region in enumerate(alert.regions) if number not in regions]
    return region_mask([alert.regions[number] for number in regions], others, size=size, preprocess=preprocess)
