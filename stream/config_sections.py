"""The sections of the configuration file: their keys, bounds and defaults. ``config`` puts them together.

Sections that belong to one part of the program stand beside it: ``sink_sections``, ``scene_sections``,
``console_section``.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from stream.config_values import Identifier, LocalPath, StoreUrl, as_tuple
from stream.config_values import Section as _Section
from stream.policy import PolicySettings
from stream.scene_choice import ScenePlan
from stream.scene_sections import CameraSceneSection, check_scenes, known_zone, plan_of
from stream.zones import Part, Zone, zones_from_json

DEFAULT_FEED = "tcp://127.0.0.1:5570"
"""Where the feed listens and where subscribers look for it, unless told otherwise."""


def _source(value: object) -> object:
    # The number of a webcam is a number in YAML, too.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else value


def _moment(value: object) -> object:
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    return datetime(value.year, value.month, value.day) if type(value) is date else value


def _rising(levels: tuple[int, ...]) -> tuple[int, ...]:
    if not levels or list(levels) != sorted(set(levels)):
        raise ValueError(f"levels are {list(levels)}; name at least one, each once, in order")
    return levels


def _useful(channels: tuple[str, ...]) -> tuple[str, ...]:
    known = [name for name in CHANNELS if name in channels]
    if list(channels) != known or not set(channels) & {"appearance", "motion"}:
        raise ValueError(f"some of {', '.join(CHANNELS)}, each once, in this order, appearance or motion among them")
    return channels


CHANNELS: tuple[Literal["appearance", "motion", "persistence"], ...] = ("appearance", "motion", "persistence")

Levels = Annotated[
    tuple[Annotated[int, Field(ge=1, le=3)], ...],
    BeforeValidator(as_tuple),
    AfterValidator(_rising),
]
Channels = Annotated[
    tuple[Literal["appearance", "motion", "persistence"], ...],
    BeforeValidator(as_tuple),
    AfterValidator(_useful),
]
Moment = Annotated[datetime, BeforeValidator(_moment)]
SourceText = Annotated[str, BeforeValidator(_source)]
Zones = Annotated[
    tuple[Zone, ...],
    PlainValidator(zones_from_json),
    PlainSerializer(lambda zones: [zone.to_json() for zone in zones]),
    WithJsonSchema({"type": "array", "items": {"type": "object", "format": "zone"}}),
]
CameraScenes = Annotated[
    tuple[CameraSceneSection, ...],
    BeforeValidator(as_tuple),
    WithJsonSchema({"type": "array", "items": {"type": "object", "format": "scene"}}),
]
TimeZone = Annotated[str, AfterValidator(known_zone)]


class BackboneSection(_Section):
    """The pretrained network."""

    name: str = "efficientnet_lite0"
    weights: LocalPath | None = None  # None: the packaged or downloaded ImageNet weights
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    runtime: Literal["auto", "openvino", "torch"] = "auto"  # auto: OpenVINO on a CPU where it is installed, else torch
    cache: LocalPath | None = None  # folder for converted networks, so that starts are quick; None: the user's own


_BELONGS_TO = {
    "persistence": "campus",
    "channels": "campus",
    "motion_memory": "campus",
    "bank": "campus",
    "average": "campus",
    "reach": "campus",
    "kappa": "spade",
    "levels": "spade",
    "neighbours": "spade",
    "seed": "spade",
}
"""Keys of 'method' that one method alone has."""


class MethodSection(_Section):
    """The scoring method. K, kappa and sigma default to the paper's values for ShanghaiTech Campus."""

    name: Literal["campus", "spade"] = "campus"  # campus: for fixed cameras; spade: faithful to the paper
    size: int = Field(256, ge=64, le=1024, multiple_of=32)  # pixels: a frame is resized to size x size
    crop: int | None = Field(None, ge=64, le=1024)  # pixels: then its centre, crop x crop, is scored; None: all of it
    k: int = Field(1, ge=1, le=1_000_000)  # K: nearest normal frames
    kappa: int = Field(1, ge=1, le=1_000_000)  # spade only: nearest features averaged at each location
    sigma: float = Field(4.0, ge=0, le=50)  # Gaussian that smooths the scores, pixels of the scoring image
    levels: Levels = (1, 2, 3)  # spade only: levels of the pyramid, 1 = finest
    neighbours: Literal["nearest", "random"] = "nearest"  # spade only: which K normal frames
    seed: int = Field(0, ge=0)  # spade only: of random neighbours
    persistence: float = Field(
        8.0, gt=0, le=600
    )  # campus only: seconds that something must stay to count as left there
    channels: Channels = CHANNELS  # campus only: what makes the score; fewer of them are for ablations
    motion_memory: float = Field(0.3, ge=0, le=10)  # campus only: seconds over which motion is averaged along itself
    bank: int = Field(128, ge=1, le=100_000)  # campus only: normal features kept of each place, chosen by k-center
    average: Literal[1, 3, 5] = 3  # campus only: cells a side over which features are averaged
    reach: Literal[0, 1] = 1  # campus only: places beside its own in which a feature may match

    @field_validator("crop")
    @classmethod
    def _fits(cls, crop: int | None, info: ValidationInfo) -> int | None:
        size = info.data.get("size")  # absent where it is wrong itself
        if crop is not None and size is not None and crop > size:
            raise ValueError(f"must be at most 'size', which is {size}")
        return crop

    @field_validator(*_BELONGS_TO)
    @classmethod
    def _is_of_this_method(cls, value: object, info: ValidationInfo) -> object:
        name, key = info.data.get("name"), info.field_name or ""
        # The default may stand there: it takes nothing from what the file asks for.
        if name not in (None, _BELONGS_TO[key]) and value != cls.model_fields[key].default:
            raise ValueError(f"has no effect with 'name: {name}', only with '{_BELONGS_TO[key]}'; remove it")
        return value

    @property
    def side(self) -> int:
        """S: height and width of the scoring image in pixels."""
        return self.size if self.crop is None else self.crop

    @property
    def part(self) -> Part:
        """The part of a frame that is scored: all of it without a crop."""
        start = (self.size - self.side) // 2 / self.size
        return start, start, self.side / self.size, self.side / self.size

    def parameters(self) -> dict[str, Any]:
        """Those of the method in use."""
        own = {key: getattr(self, key) for key, method in _BELONGS_TO.items() if method == self.name}
        return {"method": self.name, "k": self.k, "sigma": self.sigma, **own}


class GallerySection(_Section):
    """How galleries are made and where they live."""

    folder: LocalPath = Path("galleries")  # the gallery of a scene is FOLDER/SCENE
    store: StoreUrl | None = None  # folder or URL (fsspec) that nodes of a cluster fetch galleries from; None: folder
    capacity: int = Field(5000, ge=1, le=1_000_000)
    holdout: float = Field(0.2, gt=0, lt=1)  # part of the normal footage kept out, to set the threshold
    false_alarms_per_day: float = Field(1.0, gt=0, le=10_000)  # per camera, asked of the threshold


class CameraSection(_Section):
    """One camera, file or folder."""

    id: Identifier
    source: SourceText = Field(min_length=1, repr=False)  # may hold a password
    scene: Identifier | None = None  # None: the camera's id
    network: Identifier | None = None  # in a cluster: label of the nodes that reach the camera; None: any node does
    scenes: CameraScenes | None = None  # several, one of which is in force at a time
    choose: Literal["schedule", "picture"] | None = None  # None: schedule where hours are given, else picture
    timezone: TimeZone | None = None  # of the hours; None: the machine's
    fps: float | None = Field(5.0, gt=0, le=240)  # frames scored per second; None: every frame
    mode: Literal["auto", "live", "replay"] = "auto"  # auto: live for cameras, replay for files and folders
    folder_fps: float = Field(10.0, gt=0, le=240)  # rate at which an image folder was recorded
    start: float = Field(0.0, ge=0)  # seconds of a file to pass over
    seconds: float | None = Field(None, gt=0)  # seconds of it to read; None: to its end
    recorded_at: Moment | None = None  # when a recording began (ISO 8601); None: its times count from 1970
    open_timeout: float = Field(5.0, gt=0, le=120)  # s
    read_timeout: float = Field(5.0, gt=0, le=120)  # s
    frozen_after: float | None = Field(30.0, gt=0, le=86_400)  # s without a change; None: never called frozen
    obscured_after: float | None = Field(5.0, gt=0, le=86_400)  # s without structure; None: never called covered
    moved_after: float | None = Field(20.0, gt=0, le=3600)  # s out of its place before it is MOVED; None: never
    zones: Zones = ()  # parts of the picture to ignore or to watch; operators' own come on top

    @model_validator(mode="after")
    def _scenes_agree(self) -> CameraSection:
        check_scenes(self.scene, self.scenes, self.choose, self.timezone)
        return self

    @property
    def scene_name(self) -> str:
        """The scene that this camera looks at; of several the first."""
        return self.scene_names[0]

    @property
    def scene_names(self) -> tuple[str, ...]:
        """All scenes that this camera may look at, each once."""
        return (self.scene or self.id,) if self.scene_plan is None else self.scene_plan.scenes

    @property
    def scene_plan(self) -> ScenePlan | None:
        """How one of several scenes is chosen; None: there is one."""
        return None if self.scenes is None else plan_of(self.scenes, self.choose, self.timezone)

    @property
    def recorded_at_unix(self) -> float:
        """Unix seconds of a recording's first frame; a time without a zone is UTC."""
        if self.recorded_at is None:
            return 0.0
        aware = self.recorded_at if self.recorded_at.tzinfo else self.recorded_at.replace(tzinfo=UTC)
        return aware.timestamp()


class SceneSection(_Section):
    """Overrides for one scene."""

    gallery: LocalPath


class AlertsSection(_Section):
    """When an excursion of the score becomes an alert; see :class:`stream.policy.PolicySettings`."""

    min_duration: float = Field(PolicySettings().min_duration, ge=0, le=3600)
    release_ratio: float = Field(PolicySettings().release_ratio, gt=0, le=1)
    end_after: float = Field(PolicySettings().end_after, ge=0, le=3600)
    update_every: float = Field(PolicySettings().update_every, gt=0, le=86400)
    cooldown: float = Field(PolicySettings().cooldown, ge=0, le=86400)
    max_alerts_per_hour: int = Field(PolicySettings().max_alerts_per_hour, ge=1, le=100_000)

    def settings(self) -> PolicySettings:
        """As the policy takes them."""
        return PolicySettings(**self.model_dump())


class ClipsSection(_Section):
    """The short videos of alerts."""

    seconds: float = Field(20.0, ge=0, le=300)  # s of an alert that its clip shows; 0: no clips
    pre_roll: float = Field(5.0, ge=0, le=60)  # s before the alert that it shows, too
    height: int = Field(720, ge=120, le=2160, multiple_of=2)  # pixels at most


class WorkerSection(_Section):
    """The scoring process."""

    threads: int | None = Field(None, ge=1, le=1024)  # None: all cores
    max_batch: int = Field(8, ge=1, le=256)  # cameras scored at once
    explain: Literal["alerts", "always"] = "alerts"  # which frames are compared with whole normal frames (eq. 2)
    maps: LocalPath | None = None  # folder that gets every score map (float16 .npy); None: none are kept


class FeedSection(_Section):
    """Where subscribers connect."""

    endpoint: str = DEFAULT_FEED
    insecure: bool = False  # allows an address that other machines can reach, unencrypted


class LinkSection(_Section):
    """Where readers connect; None: a socket in a private folder."""

    endpoint: str | None = None
    insecure: bool = False  # allows an address that other machines can reach, unencrypted


class SecuritySection(_Section):
    """Keys of the link and the feed over TCP."""

    keys: LocalPath | None = None  # folder of a server's keys, on the machine that runs worker and feed
    key: LocalPath | None = None  # an issued key file, on a machine that runs only readers or only sinks

    @property
    def used(self) -> bool:
        """Whether TCP endpoints are encrypted, and ask who connects."""
        return self.keys is not None or self.key is not None


class RetentionSection(_Section):
    """What is given up again, the oldest first."""

    days: float | None = Field(30.0, gt=0, le=36_500)  # of an alert since its commit, and of a camera event
    gigabytes: float | None = Field(20.0, gt=0, le=1e6)  # 10^9 bytes: the pictures and clips of all alerts together
    keep_unacknowledged: bool = True  # never remove what a subscriber with a name has not acknowledged yet
    score_days: float | None = Field(90.0, gt=0, le=36_500)  # of a file of scores since its last row


class LogSection(_Section):
    """What the processes say on standard error."""

    format: Literal["human", "json"] = "human"  # json: one object a line, for programs that collect logs
