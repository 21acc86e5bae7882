"""How a program meets a Ray cluster: where it is, what is called how there, and what it says when it is not there.

Ray is loaded by :func:`ray_module` and nowhere else, when a command asks for a cluster: one machine needs none of it.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream.errors import KeyFileError, LinkLost, StreamError, UsageError
from stream.fields import as_object, read_object, text
from stream.keys import SecretKey, load_local, load_secret

NAMESPACE = "spade-stream"
"""Of all our actors in Ray."""

CONNECT_WAIT = 5.0
"""Seconds within which Ray's head has to answer a connection: it is near, or the address is wrong."""

ANSWER_WAIT = 10.0
"""Seconds within which an actor has to answer a command that a person waits for."""

_PIECE = 24 << 10  # characters of an argument, of four bytes at most: Ray takes up to 100 KiB in a message
_OTHER_VERSION = "Version mismatch"  # how Ray begins to say that the cluster has another one than this program
_TOKEN = "If it wants a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=FILE"
_MOST_LINES, _MOST_WORDS = 8, 600  # lines and characters of what Ray says
_POLL = 0.2  # s between two looks at whether a wait is to end
_SHORT = 12  # hex digits of a node's id in the names of actors: unique among the nodes that a cluster ever has


def ray_module() -> Any:
    """Ray.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody outside
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise UsageError("--cluster needs Ray: pip install 'spade-stream[cluster]'") from None


def is_directory(address: str) -> bool:
    """Whether an address is that of a cluster's directory (``tcp://HOST:PORT``), for which no Ray is needed."""
    return "://" in address


def pieces(text: str) -> tuple[str, ...]:
    """A text as the arguments of a call: short ones travel in the message itself. Ray puts a long one into its object
    store, which it may spill to a disk, and a configuration holds passwords. :func:`whole` is the way back."""
    return tuple(text[at : at + _PIECE] for at in range(0, len(text), _PIECE)) or ("",)


def whole(parts: Iterable[str]) -> str:
    """The text of :func:`pieces`."""
    return "".join(parts)


def control_name(cluster: str) -> str:
    """Of the actor that decides."""
    return f"control:{cluster}"


def worker_name(cluster: str, node_id: str, index: int) -> str:
    """Of a scoring worker's actor."""
    return f"worker:{cluster}:{node_id[:_SHORT]}:{index}"


def readers_name(cluster: str, node_id: str) -> str:
    """Of the actor that runs a node's readers."""
    return f"readers:{cluster}:{node_id[:_SHORT]}"


def belongs(actor: str, cluster: str) -> bool:
    """Whether a name is that of an actor of this cluster of ours."""
    return actor == control_name(cluster) or actor.startswith((f"worker:{cluster}:", f"readers:{cluster}:"))


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected for as long as the block lasts.

    Args:
        address: ``auto`` or ``HOST:PORT`` of its head.

    Raises:
        UsageError: Ray is not installed, is of another version there, or this is no address of it.
        LinkLost: nothing answers there now; a machine that has just been switched on may have to wait for it.
    """
    ray = connect(address)
    try:
        yield ray
    finally:
        ray.shutdown()


def connect(address: str) -> Any:
    """Ray, connected; arguments and errors as for :func:`connected`. Ends with ``ray.shutdown()`` or the process."""
    if address.startswith("tcp://"):
        raise UsageError(f"--cluster {address}: is a directory's address; this command needs Ray's: auto or HOST:PORT")
    _check_form(address)
    ray = ray_module()
    _check_answers(address)
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray has many kinds: no such cluster, a wrong token, another version
        said = _brief(error, lines=_MOST_LINES)
        if said.startswith(_OTHER_VERSION):
            raise UsageError(f"--cluster {address}: {said}. Install the same versions on all machines") from None
        wants = "" if os.environ.get("RAY_AUTH_MODE") else f" {_TOKEN}"
        raise LinkLost(f"--cluster {address}: {said}. Is Ray running here ('ray status')?{wants}") from None
    return ray


def _check_form(address: str) -> None:
    host, _, port = address.rpartition(":")
    is_named = bool(host) and "/" not in host and port.isdecimal()
    if address != "auto" and not is_named:  # "local", for one, would start another Ray
        raise UsageError(f"--cluster {address}: must be auto, HOST:PORT (Ray's head), or tcp://HOST:PORT (a directory)")


def _check_answers(address: str) -> None:
    """Ray itself would try for a minute, and then speak of its insides."""
    if address == "auto":  # Ray looks for the cluster that this machine is a node of
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_WAIT).close()
    except (OSError, OverflowError) as error:
        raise LinkLost(
            f"--cluster {address}: nothing answers there ({error}). Start Ray's head with 'ray start --head'"
        ) from None


def _brief(error: BaseException, *, lines: int = 1) -> str:
    """What an error says, as one line, from its first lines. Ours are told whole: each line names a problem."""
    said = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    most = len(said) if isinstance(error, StreamError) else lines
    return " ".join(said[:most])[:_MOST_WORDS].rstrip(".") or type(error).__name__


def control_of(ray: Any, cluster: str) -> Any:
    """The handle of the control.

    Raises:
        LinkLost: there is none of this name.
    """
    try:
        return ray.get_actor(control_name(cluster), namespace=NAMESPACE)
    except ValueError:
        others = _controls(ray)
        known = f"; there are: {', '.join(others)}" if others else ""
        raise LinkLost(
            f"no cluster named {cluster!r} runs in Ray{known}. It is started with 'spade-stream run CONFIG --cluster'"
        ) from None


def _controls(ray: Any) -> list[str]:
    names = (each["name"] for each in ray.util.list_named_actors(all_namespaces=True) if each["namespace"] == NAMESPACE)
    return sorted(name.partition(":")[2] for name in names if name.startswith("control:"))


def ask(
    ray: Any,
    actor: Any,
    method: str,
    *arguments: str,
    wait: float = ANSWER_WAIT,
    stopping: Callable[[], bool] = lambda: False,
) -> str:
    """What an actor answers, where a person or a thread waits for it.

    Args:
        ray: connected.
        actor: its handle.
        method: of it.
        arguments: short ones; see :func:`pieces`.
        wait: seconds.
        stopping: polled; gives the answer up.

    Raises:
        LinkLost: it does not answer, or it failed; says how. Or it was given up.
    """
    errors = ray.exceptions
    try:
        answer = getattr(actor, method).remote(*arguments)
        until = time.monotonic() + wait
        while not ray.wait([answer], timeout=min(_POLL, wait))[0] and time.monotonic() < until:
            if stopping():
                raise LinkLost("stopped while waiting for the control")
        return str(ray.get(answer, timeout=0))
    except errors.GetTimeoutError:
        raise LinkLost(f"the control has not answered for {wait:g} s") from None
    except errors.RayTaskError as error:
        raise LinkLost(f"the control: {_brief(error.cause or error)}") from None
    except errors.RayError as error:
        raise LinkLost(f"the control does not answer ({type(error).__name__})") from None


def document_of(ray: Any, cluster: str) -> Mapping[str, Any]:
    """What the control says of the whole cluster. Raises LinkLost."""
    return read_object(ask(ray, control_of(ray, cluster), "document").encode())


def directory_of(address: str, cluster: str, key: Path | None = None) -> tuple[str, str, SecretKey]:
    """Where a cluster's directory is, its public key, and the key to talk to it with, found through Ray.

    Args:
        address: Ray's.
        cluster: ``cluster.name`` of the configuration.
        key: file of a key; None: that of this machine's own programs, where the control runs on this machine.

    Raises:
        UsageError, LinkLost: Ray cannot be reached, or there is no such cluster.
        KeyFileError: there is no key that can be used.
    """
    with connected(address) as ray:
        told = read_object(ask(ray, control_of(ray, cluster), "health").encode())
        here = ray.get_runtime_context().get_node_id() == told.get("ray_node")
    directory = as_object(told.get("directory"), "directory")
    endpoint, server = text(directory, "endpoint", most=512), text(directory, "server", most=128)
    if not endpoint:
        raise LinkLost(f"the control of {cluster!r} waits for its configuration: 'spade-stream run CONFIG --cluster'")
    if key is not None:
        return endpoint, server, load_secret(key)
    if not here:
        raise KeyFileError(
            f"the cluster {cluster!r} is run on another machine: give a key that was issued there, with --key FILE"
        )
    return endpoint, server, load_local(Path(text(told, "keys", most=4096)))


def as_text(value: Mapping[str, Any]) -> str:
    """JSON, as everything of ours travels through Ray."""
    return json.dumps(value, separators=(",", ":"))
