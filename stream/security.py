"""From the configuration's ``security`` section to what the sockets need. For ``programs`` and ``commands``.

Fails closed: where keys are named, a program that cannot use them does not start; it never goes on without them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stream.config import Config
from stream.curve import CurveClient, CurveServer
from stream.endpoints import parse_endpoint
from stream.errors import ConfigError, KeyFileError, UsageError
from stream.keys import Role, SecretKey, check_folder, check_key, load_folder, load_local, load_secret


def link_server(config: Config) -> CurveServer | None:
    """Who may be which camera. None: the link's endpoint guards itself, or the configuration says ``insecure``.

    Raises:
        KeyFileError: the keys cannot be used.
        ConfigError: this machine has no server's keys.
    """
    return _server(config, config.link_endpoint, Role.READER)


def feed_server(config: Config) -> CurveServer | None:
    """Who may subscribe under which name; otherwise as :func:`link_server`."""
    return _server(config, config.feed.endpoint, Role.SUBSCRIBER)


def link_client(config: Config, camera: str) -> CurveClient | None:
    """What the reader of this camera connects with; None where the link has no CURVE.

    Raises:
        KeyFileError: the key cannot be used, or is another's.
    """
    return _client(config, config.link_endpoint, Role.READER, camera)


def feed_client(config: Config, name: str) -> CurveClient | None:
    """What the sink of this name connects with; otherwise as :func:`link_client`."""
    return _client(config, config.feed.endpoint, Role.SUBSCRIBER, name)


def directory_key(config: Config, camera: str, *, server: str | None = None) -> SecretKey:
    """What the reader of this camera asks a cluster's directory with, and then its workers.

    Args:
        config: see there; whatever its link is, a cluster has keys.
        camera: id.
        server: public key of the directory; None: the one that the reader's key was issued by, or this machine's own.

    Raises:
        KeyFileError: the key cannot be used, or is another's.
        ConfigError: there is none.
        UsageError: ``server`` is no key.
    """
    if config.security.keys is not None:
        key = load_local(config.security.keys)
    elif config.security.key is not None:
        key = _own(load_secret(config.security.key), config.security.key, Role.READER, camera)
    else:
        problem = (
            "is needed with --cluster: have one issued with 'spade-stream keys' where the cluster's run is started"
        )
        raise ConfigError("security", [f"security.key: {problem}"])
    if server is None:
        return key
    try:
        return replace(key, server=check_key(server))
    except ValueError:
        raise UsageError("--directory-key: a public key has 40 characters (Z85)") from None


def check(config: Config) -> str:
    """Reads all keys that the configuration names, and says what they are; empty where it names none.

    Raises:
        KeyFileError: one of them cannot be used.
    """
    if config.security.keys is not None:
        access = check_folder(config.security.keys).access
        cameras = sorted(name for names in access.readers.values() for name in names)
        subscribers = sorted(name for names in access.subscribers.values() for name in names)
        return f"cameras on other machines: {_list(cameras)}; subscribers on other machines: {_list(subscribers)}"
    if config.security.key is not None:
        key = load_secret(config.security.key)
        return f"key of {key.role} {_list(key.names)}"
    return ""


def command_client(path: Path | None) -> CurveClient | None:
    """What ``alerts`` and ``status`` connect with: a subscriber's key, or the server's own ``local.key``."""
    return None if path is None else CurveClient(command_key(path))


def command_key(path: Path) -> SecretKey:
    """A subscriber's key, or a server's own ``local.key``.

    Raises:
        KeyFileError: it is another's, or cannot be used.
    """
    key = load_secret(path)
    if key.role not in (Role.SUBSCRIBER, Role.LOCAL):
        raise KeyFileError(f"{path}: is a {key.role}'s key; the feed takes a subscriber's, or local.key")
    return key


def _server(config: Config, endpoint: str, role: Role) -> CurveServer | None:
    if parse_endpoint(endpoint).path is not None:  # its folder is the guard
        return None
    if config.security.key is not None:
        problem = f"this machine serves {endpoint}, and needs security.keys instead (made with 'spade-stream keys DIR')"
        raise ConfigError("security.key", [problem])
    return None if config.security.keys is None else CurveServer(load_folder(config.security.keys), role)


def _client(config: Config, endpoint: str, role: Role, name: str) -> CurveClient | None:
    if parse_endpoint(endpoint).path is not None:
        return None
    if config.security.keys is not None:
        return CurveClient(load_local(config.security.keys))
    if config.security.key is None:
        return None
    return CurveClient(_own(load_secret(config.security.key), config.security.key, role, name))


def _own(key: SecretKey, path: Path, role: Role, name: str) -> SecretKey:
    if key.role is Role.LOCAL or (key.role is role and name in key.names):
        return key
    raise KeyFileError(
        f"{path}: is the key of {key.role} {_list(key.names)}, not of {role} {name}. Have one issued for it"
    )


def _list(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names) or "none"
