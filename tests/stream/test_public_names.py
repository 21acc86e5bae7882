"""``from stream import AlertSubscriber``: there for other programs, and loaded only when it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stream


def test_every_public_name_can_be_imported() -> None:
    for name in stream.__all__:
        assert getattr(stream, name) is not None
        assert name in dir(stream)


def test_the_subscriber_is_the_one_of_its_module() -> None:
    from stream import AlertSubscriber
    from stream.subscriber import AlertSubscriber as Original

    assert AlertSubscriber is Original


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Siren'"):
        stream.Siren  # noqa: B018


def test_importing_the_package_alone_loads_nothing_of_it() -> None:
    program = (
        "import stream, sys; print([m for m in sys.modules if m.startswith(('stream.', 'zmq', 'numpy', 'torch'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["AlertSubscriber", "ClusterSubscriber"])
def test_a_subscriber_loads_no_network_no_web_server_and_no_ray(name: str) -> None:
    program = f"from stream import {name}; import sys; print({{'torch', 'fastapi', 'httpx', 'ray'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
