"""The configuration file, and how it is read.

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
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from stream.cluster_section import ClusterSection
from stream.config_sections import (
    AlertsSection,
    BackboneSection,
    CameraSection,
    ClipsSection,
    FeedSection,
    GallerySection,
    LinkSection,
    LogSection,
    MethodSection,
    RetentionSection,
    SceneSection,
    SecuritySection,
    WorkerSection,
)
from stream.config_values import Identifier, LocalPath, expand_home, expand_variables
from stream.config_values import Section as _Section
from stream.console_section import ConsoleSection, console_problems
from stream.endpoints import is_loopback, parse_endpoint
from stream.errors import ConfigError, UsageError
from stream.redact import redact_url
from stream.scene_sections import DriftSection
from stream.sink_sections import SinkSection, ZmqSection, is_secret, sink_problems, with_variables
from stream.sources import LOOP, is_looped
from stream.zones import Part, check_zones

IPC_PATH_LIMIT = 100
"""Longest path of a socket: the system's limit is 107 bytes, less a margin for the lock file's suffix."""


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
    cluster: ClusterSection = ClusterSection()
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
    def cluster_document(self) -> Path:
        """What the control of a cluster says of it, rewritten every second; one machine has none."""
        return self.state / "cluster.json"

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
        raise ConfigError(where, [f"{place}{_unshown(error.problem or error.context or '')}"]) from None
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
            "cluster": config.cluster.model_copy(update={"folder": base / config.cluster.folder}),
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

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError, OverflowError):  # a 30th of February; it shows the value
            problem = f"no {node.tag.rpartition(':')[2]} that there is; put it in quotes if it is text"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


_OF_A_SIGN = re.compile(r"(undefined alias|constructor for the tag|undefined tag handle) .*", re.DOTALL)


def _unshown(problem: str) -> str:
    """What YAML says, without the text that it shows: a password without quotes may begin with ``*`` or ``!``."""
    return _OF_A_SIGN.sub(r"\1; text that begins with * or ! must be in quotes", problem)


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
