"""What a node's processes read: the user's configuration, with the places of this node in it. Pure, but for ports.

``${NAME}`` stays as it stands: values come in the environment of the processes, and never to the disk.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from stream.config import read_text
from stream.errors import ConfigError, UsageError

FREE_PORTS = (20000, 32767)
"""Where links and feeds are bound when the configuration names no ports: below those that Linux gives to outgoing
connections (32768 on), above those that Ray uses (10002 to 19999)."""


def worker_config(
    text: str, *, named: str, state: Path, keys: Path, link: str, feed: str, threads: int | None, device: str | None
) -> str:
    """The configuration of a worker and its feed.

    Args:
        text: the user's.
        named: how errors name it.
        state: the worker's state folder.
        keys: of the machine.
        link: endpoint of the link, reachable from other machines.
        feed: endpoint of the feed.
        threads: cores, where the user names no number; None: all.
        device: what scores, where the user says ``auto``; None: that stays.

    Raises:
        ConfigError: the text is no mapping.
    """
    data = _on_a_node(_read(text, named), state=state, keys=keys)
    data["link"] = {**_section(data, "link"), "endpoint": link}
    data["feed"] = {**_section(data, "feed"), "endpoint": feed}
    worker, backbone = _section(data, "worker"), _section(data, "backbone")
    if threads is not None and worker.get("threads") is None:
        data["worker"] = {**worker, "threads": threads}
    if device is not None and backbone.get("device", "auto") == "auto":
        data["backbone"] = {**backbone, "device": device}
    # What follows slow change looks for its frames on the machine where galleries are made.
    data["drift"] = {"mode": "off"}
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def reader_config(text: str, *, named: str, state: Path, keys: Path) -> str:
    """The configuration of the readers of a node: they ask a directory for their worker. Errors as above."""
    data = _on_a_node(_read(text, named), state=state, keys=keys)
    data.pop("link", None)
    data.pop("feed", None)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def feed_config(path: Path, *, state: Path, feed: str) -> str:
    """The configuration of a feed for another outbox: that of a worker, but for these. Errors as above.

    Args:
        path: of the worker's.
        state: folder that the outbox lies in.
        feed: endpoint.
    """
    data = _read(read_text(path), str(path))
    data["state"] = str(state)
    data["feed"] = {**_section(data, "feed"), "endpoint": feed}
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def free_port(address: str, ports: tuple[int, int] | None, *, taken: Collection[int] = ()) -> int:
    """A TCP port of this address that nobody is bound to at this moment.

    Args:
        address: of this node.
        ports: first and last that may be used; None: ``FREE_PORTS``.
        taken: not these.

    Raises:
        UsageError: all are in use, or the address is none of this machine.
    """
    first, last = ports or FREE_PORTS
    candidates = [port for port in range(first, last + 1) if port not in taken]
    random.shuffle(candidates)  # two workers that start at the same time seldom choose the same
    for port in candidates:
        if is_free(address, port):
            return port
    raise UsageError(
        f"no free port from {first} to {last} on {address}: name more with 'cluster.ports', and see that the address "
        "is one of this machine"
    )


def is_free(address: str, port: int) -> bool:
    """Whether a server could be bound here now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ZeroMQ does: one that has just ended is free
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def endpoint(address: str, port: int) -> str:
    """As it stands in a configuration."""
    return f"tcp://[{address}]:{port}" if ":" in address else f"tcp://{address}:{port}"


def _on_a_node(data: dict[str, Any], *, state: Path, keys: Path) -> dict[str, Any]:
    """Less what belongs to the machine where the run was started."""
    data["state"] = str(state)
    data["security"] = {"keys": str(keys)}
    data["sinks"] = []
    data["console"] = {"enabled": False}
    for name in ("link", "feed"):
        if name in data:
            data[name] = {key: value for key, value in _section(data, name).items() if key != "insecure"}
    return data


def _read(text: str, named: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(named, [f"is not YAML: {type(error).__name__}"]) from None
    if not isinstance(data, dict):
        raise ConfigError(named, ["the file must hold a mapping with at least 'cameras'"])
    return data


def _section(data: dict[str, Any], name: str) -> dict[str, Any]:
    found = data.get(name)
    return found if isinstance(found, dict) else {}
