"""The configuration file: what may stand in it, its bounds and defaults, and how it is read.

Strict: unknown keys, duplicate keys and values out of bounds are refused, with the field named and all problems listed
at once. Relative paths are relative to the file. ``${NAME}`` in a camera's source and in the secrets of a sink is taken
from the environment that is handed in, so that passwords need not stand in the file.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Hashable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from stream.config_values import Identifier, LocalPath, as_tuple, expand_home, expand_variables
from stream.config_values import Section as _Section
from stream.console_section import ConsoleSection, console_problems
from stream.endpoints import is_loopback, parse_endpoint
from stream.errors import ConfigError, UsageError
from stream.policy import PolicySettings
from stream.redact import redact_url
from stream.scene_choice import ScenePlan
from stream.scene_sections import CameraSceneSection, DriftSection, check_scenes, known_zone, plan_of
from stream.sink_sections import SinkSection, ZmqSection, is_secret, sink_problems, with_variables
from stream.sources import LOOP, is_looped
from stream.zones import Part, Zone, check_zones, zones_from_json

IPC_PATH_LIMIT = 100
"""Longest path of a socket: the system's limit is 107 bytes, less a margin for the lock file's suffix."""

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
    capacity: int = Field(5000, ge=1, le=1_000_000)
    holdout: float = Field(0.2, gt=0, lt=1)  # part of the normal footage kept out, to set the threshold
    false_alarms_per_day: float = Field(1.0, gt=0, le=10_000)  # per camera, asked of the threshold


class CameraSection(_Section):
    """One camera, file or folder."""

    id: Identifier
    source: SourceText = Field(min_length=1, repr=False)  # may hold a password
    scene: Identifier | None = None  # None: the camera's id
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


class Config(_Section):
    """The whole file."""

    state: LocalPath = Path("state")  # alerts, evidence, scores
    cameras: list[CameraSection] = Field(min_length=1)
    scenes: dict[Identifier, SceneSection] = Field(default_factory=dict)
    backbone: BackboneSection = BackboneSection()
    method: MethodSection = MethodSection()
    gallery: GallerySection = GallerySection()
    alerts: AlertsSection = AlertsSection()
    clips: ClipsSection = ClipsSection()
    worker: WorkerSection = WorkerSection()
    link: LinkSection = LinkSection()
    feed: FeedSection = FeedSection()
    security: SecuritySection = SecuritySection()
    retention: RetentionSection = RetentionSection()
    log: LogSection = LogSection()
    drift: DriftSection = DriftSection()
    console: ConsoleSection = ConsoleSection()
    sinks: list[Annotated[SinkSection, Field(discriminator="type")]] = Field(default_factory=list)

    def camera(self, camera_id: str) -> CameraSection:
        """The camera with this id.

        Raises:
            ConfigError: there is none.
        """
        for camera in self.cameras:
            if camera.id == camera_id:
                return camera
        known = ", ".join(camera.id for camera in self.cameras)
        raise ConfigError("--camera", [f"{camera_id!r} is not in the configuration; it has: {known}"])

    def gallery_of(self, scene: str) -> Path:
        """Gallery folder of a scene."""
        override = self.scenes.get(scene)
        return override.gallery if override else self.gallery.folder / scene

    @property
    def outbox(self) -> Path:
        """The alert store."""
        return self.state / "outbox.sqlite"

    @property
    def evidence(self) -> Path:
        """Pictures of committed alerts."""
        return self.state / "evidence"

    @property
    def scores(self) -> Path:
        """Score of every frame, as CSV per camera."""
        return self.state / "scores"

    @property
    def sink_folder(self) -> Path:
        """What each sink says of itself (``NAME.json``), remembers, and had to lay aside (``NAME/rejected/``)."""
        return self.state / "sinks"

    @property
    def drift_folder(self) -> Path:
        """Frames that may join a gallery to follow slow change, a folder per scene."""
        return self.state / "drift"

    @property
    def status(self) -> Path:
        """What the worker says of itself and its cameras, rewritten every second."""
        return self.state / "status.json"

    @property
    def operator_settings(self) -> Path:
        """What operators set while the system runs: zones, sensitivity, snoozes."""
        return self.state / "operator.json"

    @property
    def processes(self) -> Path:
        """What the supervisor says of its processes and of the configuration in force."""
        return self.state / "processes.json"

    @property
    def link_endpoint(self) -> str:
        """Where readers meet the worker. Separate programs with the same configuration get the same answer."""
        if self.link.endpoint:
            return self.link.endpoint
        return self._socket("link")

    @property
    def live_endpoint(self) -> str:
        """Where the worker shows live views to viewers on this machine: beside the link's socket where that has a place
        of its own, a private folder which goes with the run.
        """
        link = parse_endpoint(self.link.endpoint).path if self.link.endpoint else None
        beside = f"{link}.live"
        return f"ipc://{beside}" if link and len(os.fsencode(beside)) <= IPC_PATH_LIMIT else self._socket("live.sock")

    def _socket(self, name: str) -> str:
        path = self.state / "run" / name
        if len(os.fsencode(path)) > IPC_PATH_LIMIT:
            folder = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:16]
            # One folder: who owns a folder around it could put another in its place. The sticky bit keeps this one.
            path = Path(tempfile.gettempdir()) / f"spade-stream-{os.getuid()}-{folder}" / name
        return f"ipc://{path}"


def load_config(path: Path, environment: Mapping[str, str]) -> Config:
    """Reads a configuration file.

    Args:
        path: YAML file.
        environment: values for ``${NAME}`` in camera sources and secrets of sinks.

    Raises:
        ConfigError: with every problem found.
    """
    return parse_config(read_text(path), where=str(path), base=path.resolve().parent, environment=environment)


def read_text(path: Path, *, where: str | None = None) -> str:
    """The text of a configuration file.

    Args:
        path: of the file.
        where: named in errors; None: the path.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(where or str(path), [f"cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(where or str(path), [f"is not UTF-8 text: byte {error.start}"]) from None


def parse_config(text: str, *, where: str, base: Path, environment: Mapping[str, str]) -> Config:
    """A configuration from the text of a file.

    Args:
        text: YAML.
        where: named in errors.
        base: what relative paths are relative to.
        environment: values for ``${NAME}`` in camera sources and secrets of sinks.

    Raises:
        ConfigError: with every problem found.
    """
    try:
        data = yaml.load(text, Loader=_UniqueKeys)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(where, [f"{place}{error.problem or error.context}"]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(where, [f"is not YAML: {type(error).__name__}"]) from None
    return build_config(data, where=where, base=base, environment=environment)


def build_config(data: Any, *, where: str, base: Path, environment: Mapping[str, str]) -> Config:
    """A configuration from plain values (what YAML gives).

    Args:
        data: mapping of sections.
        where: named in errors.
        base: what relative paths are relative to.
        environment: values for ``${NAME}`` in camera sources and secrets of sinks.
    """
    if not isinstance(data, dict):
        raise ConfigError(where, ["the file must hold a mapping with at least 'cameras'"])
    try:
        config = Config.model_validate(data, context={"base": base})
    except ValidationError as error:
        raise ConfigError(where, [_problem(details) for details in error.errors(include_url=False)]) from None
    config = config.model_copy(
        update={  # defaults do not pass through validators, so they are still relative
            "state": base / config.state,
            "gallery": config.gallery.model_copy(update={"folder": base / config.gallery.folder}),
        }
    )
    problems: list[str] = []
    cameras = [
        camera.model_copy(
            update={"source": _expand(camera.source, base, environment, f"cameras[{index}].source", problems)}
        )
        for index, camera in enumerate(config.cameras)
    ]
    problems += _duplicates("cameras", "id", [camera.id for camera in cameras])
    problems += _zone_problems(cameras, config.method.part)
    sinks = [with_variables(sink, environment, f"sinks[{n}]", problems) for n, sink in enumerate(config.sinks)]
    problems += _duplicates("sinks", "name", [sink.name for sink in sinks])
    for index, sink in enumerate(sinks):
        problems += sink_problems(sink, f"sinks[{index}]")
        if isinstance(sink, ZmqSection):
            problems += _endpoint_problems(f"sinks[{index}]", sink.endpoint, sink.insecure, config.security)
    problems += console_problems(config.console)
    unused = set(config.scenes) - {scene for camera in cameras for scene in camera.scene_names}
    problems += _endpoint_problems("link", config.link_endpoint, config.link.insecure, config.security)
    problems += _endpoint_problems("feed", config.feed.endpoint, config.feed.insecure, config.security)
    if config.security.keys is not None and config.security.key is not None:
        problems.append("security: give 'keys' where worker and feed run, or 'key' on another machine, not both")
    problems += [f"scenes.{name}: no camera looks at this scene" for name in sorted(unused)]
    if problems:
        raise ConfigError(where, problems)
    return config.model_copy(update={"cameras": cameras, "sinks": sinks})


class _UniqueKeys(yaml.SafeLoader):
    """YAML where a key that stands twice in a mapping is an error (YAML itself silently takes the last one)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # "<<: *anchor" is no key: what stands beside it overrides it
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a plain value", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _problem(details: Any) -> str:
    field = ""
    for part in details["loc"]:
        name = redact_url(str(part))  # a mistyped camera may stand where a key belongs
        field += f"[{part}]" if isinstance(part, int) else f".{name}" if field else name
    message = str(details["msg"]).removeprefix("Value error, ")
    if details["type"] == "extra_forbidden":
        return f"{field}: unknown key"
    if details["type"] == "missing":
        return f"{field}: is required"
    value = details.get("input")
    secret = field.endswith("source") or is_secret(field) or isinstance(value, dict | list)
    shown = "" if secret else f" (got {(redact_url(value) if isinstance(value, str) else value)!r})"
    return f"{field}: {message[:1].lower()}{message[1:]}{shown}"


_SPECIAL = re.compile(r"^(\d+$|campus:|[A-Za-z][A-Za-z0-9+.-]*://)")


def _expand(source: str, base: Path, environment: Mapping[str, str], field: str, problems: list[str]) -> str:
    expanded = expand_variables(source, environment, field=field, problems=problems)
    if _SPECIAL.match(expanded):
        return expanded
    loop = LOOP if is_looped(expanded) else ""
    try:
        return loop + str(base / expand_home(expanded.removeprefix(loop)))
    except ValueError as error:
        problems.append(f"{field}: {error}")
        return expanded


def _endpoint_problems(section: str, text: str, insecure: bool, security: SecuritySection) -> list[str]:
    try:
        endpoint = parse_endpoint(text)
    except UsageError as error:
        return [f"{section}.endpoint: {error}"]
    if security.used and insecure:
        return [f"{section}.insecure: contradicts 'security', which encrypts {endpoint}: remove one of the two"]
    if is_loopback(endpoint) or insecure or security.used:
        return []
    return [
        f"{section}.endpoint: other machines can reach {endpoint}, and nothing is encrypted there: give keys with "
        f"'security.keys', use a loopback or ipc address, or say '{section}.insecure: true'"
    ]


def _zone_problems(cameras: list[CameraSection], part: Part) -> Iterator[str]:
    for index, camera in enumerate(cameras):
        try:
            check_zones(camera.zones, part=part)
        except ValueError as error:
            yield f"cameras[{index}].zones: {error}"


def _duplicates(section: str, field: str, names: list[str]) -> list[str]:
    return [
        f"{section}[{index}].{field}: {name!r} is used twice (first by {section}[{names.index(name)}])"
        for index, name in enumerate(names)
        if names.index(name) < index
    ]
