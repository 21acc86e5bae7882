"""What requests may say: every field has its bounds, and unknown fields are refused."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""Of a camera or a scene."""

AlertId = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f/\\-][^\x00-\x1f/\\]*$")]
"""Of an alert. It is looked up, never part of a path; as a word of a command it must not look like an option."""

JobId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")]
VersionName = Annotated[str, StringConstraints(pattern=r"^v?[0-9]{1,9}$")]
LARGEST = 2**63 - 1
"""The largest number that the store can hold."""

Note = Annotated[str, StringConstraints(max_length=2000)]


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


Finite = Annotated[float, AfterValidator(_finite)]


class Body(BaseModel):
    """Base of all: strict about its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Login(Body):
    """Either a user with a password, or the token."""

    user: str = Field("", max_length=64)
    password: str = Field("", max_length=256, repr=False)
    token: str = Field("", max_length=256, repr=False)


class Sensitivity(Body):
    """A camera's threshold, as a factor of the calibrated one."""

    factor: Finite = Field(ge=0.2, le=20)
    revision: int | None = Field(None, ge=0)  # of the settings that the user saw


class ZoneBody(Body):
    """One zone; fractions of the frame."""

    name: str = Field(min_length=1, max_length=64)
    kind: Literal["ignore", "watch"]
    polygon: list[tuple[Finite, Finite]] = Field(min_length=3, max_length=64)


class Zones(Body):
    """All zones that operators have drawn for a camera."""

    zones: list[ZoneBody] = Field(max_length=32)
    revision: int | None = Field(None, ge=0)


class Snooze(Body):
    """No alerts for a while."""

    minutes: Finite = Field(gt=0, le=7 * 24 * 60)
    reason: str = Field("", max_length=200)
    revision: int | None = Field(None, ge=0)


class Enroll(Body):
    """Watching a scene while it is normal."""

    seconds: Finite = Field(ge=10, le=7 * 86_400)
    scene: Id | None = None


class SeenReview(Body):
    """The review of an alert that somebody had before them."""

    review: Literal["open", "real", "false", "normal"]
    reviewed_at: str | None = Field(None, max_length=64)  # as the alert told it


class Review(Body):
    """What somebody says of an alert; ``open`` takes it back."""

    verdict: Literal["real", "false", "open"]
    note: Note = ""
    expected: SeenReview | None = None  # None: whatever it is now


class Normal(Body):
    """Adding an alert's frame, or some of its regions, to the gallery."""

    regions: list[Annotated[int, Field(ge=0, le=65_535)]] | None = Field(None, min_length=1, max_length=256)
    seen: int | None = Field(None, ge=1, le=LARGEST)  # ``peak_seq`` of the alert whose regions these are
    dry_run: bool = False


class Use(Body):
    """A version of a gallery to put in force."""

    version: VersionName


class Follow(Body):
    """Taking the confirmed-normal candidates into the gallery."""

    dry_run: bool = False


def moment(text: str | None, *, otherwise: float) -> float:
    """Unix seconds of an ISO 8601 time; UTC where it names no zone. Raises ValueError."""
    if text is None:
        return otherwise
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def in_words(errors: Any) -> str:
    """What is wrong with a request, one line. What was sent is not repeated: it may be a password."""
    found = []
    for error in list(errors)[:8]:
        place = ".".join(str(part) for part in error["loc"] if part not in ("body", "query", "path"))
        found.append(f"{place}: {error['msg']}" if place else str(error["msg"]))
    return "; ".join(found)
