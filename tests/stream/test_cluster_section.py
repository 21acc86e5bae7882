"""The configuration's section ``cluster``: what it is without a word, what may stand there, what is refused and why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stream.cluster_section import DEFAULT_DIRECTORY, ClusterSection
from stream.config import build_config
from stream.endpoints import parse_endpoint
from stream.errors import ConfigError


def cluster(**values: Any) -> ClusterSection:
    data: dict[str, Any] = {"cameras": [{"id": "gate", "source": "0"}]}
    if values:
        data["cluster"] = values
    return build_config(data, where="site.yaml", base=Path("/site"), environment={}).cluster


def refused(**values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        cluster(**values)
    return "\n".join(caught.value.problems)


def test_a_configuration_that_does_not_name_it_has_one_with_usable_values() -> None:
    section = cluster()

    assert (section.name, section.directory, section.ports, section.gpus) == (
        "spade-stream",
        DEFAULT_DIRECTORY,
        None,
        True,
    )
    assert parse_endpoint(section.directory).port == 8480


def test_the_nodes_folder_is_relative_to_the_configuration() -> None:
    assert cluster().folder == Path("/site/cluster")
    assert cluster(folder="data/spade").folder == Path("/site/data/spade")
    assert cluster(folder="/var/lib/spade").folder == Path("/var/lib/spade")


def test_ports_are_a_range() -> None:
    assert cluster(ports="8500-8599").ports == (8500, 8599)
    assert cluster(ports="8500-8500").ports == (8500, 8500)


@pytest.mark.parametrize(
    "wrong", ["8500", "8599-8500", "80-90", "8500-65536", "a-b", "8500-", "-8500", "", " 8500-8599", "8500-8599-8600"]
)
def test_what_is_no_range_of_ports_is_refused_with_an_example(wrong: str) -> None:
    said = refused(ports=wrong)

    assert "cluster.ports" in said
    assert "8500-8599" in said


@pytest.mark.parametrize("wrong", [8500, [8500, 8599], 1.5, True])
def test_ports_are_a_text(wrong: object) -> None:
    assert 'must be a text such as "8500-8599"' in refused(ports=wrong)


@given(st.text(max_size=12).filter(lambda written: re.fullmatch(r"\d{4,5}-\d{4,5}", written) is None))
def test_whatever_else_stands_for_ports_is_refused(written: str) -> None:
    with pytest.raises(ValidationError, match="two ports from 1024 to 65535"):
        ClusterSection.model_validate({"ports": written})


@given(st.integers(0, 70_000), st.integers(0, 70_000))
def test_exactly_the_ranges_from_1024_to_65535_are_taken(first: int, last: int) -> None:
    data = {"ports": f"{first}-{last}"}
    if 1024 <= first <= last <= 65535:
        assert ClusterSection.model_validate(data).ports == (first, last)
    else:
        with pytest.raises(ValidationError, match="two ports from 1024 to 65535"):
            ClusterSection.model_validate(data)


@pytest.mark.parametrize("taken", ["tcp://*:8480", "tcp://10.0.0.1:9000", "tcp://[::1]:9000", "tcp://head.campus:9000"])
def test_the_directory_is_a_tcp_endpoint(taken: str) -> None:
    assert cluster(directory=taken).directory == taken


@pytest.mark.parametrize("wrong", ["ipc:///run/x", "tcp://*:*", "tcp://*:0", "tcp://*", "*:8480", "udp://*:8480", ""])
def test_a_directory_that_other_machines_could_not_find_is_refused(wrong: str) -> None:
    assert "cluster.directory" in refused(directory=wrong)


@pytest.mark.parametrize("taken", ["head.campus", "10.0.0.1", None])
def test_an_address_to_advertise_is_a_host(taken: str | None) -> None:
    assert cluster(advertise=taken).advertise == taken


@pytest.mark.parametrize("wrong", ["tcp://head", "head:8480", "user@head", "a b", ""])
def test_an_address_to_advertise_has_no_scheme_port_or_user(wrong: str) -> None:
    assert "must be a host name or an IP address, without scheme and port" in refused(advertise=wrong)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("worker_cpus", 1, 1024), ("moves", 1, 1000), ("copies", 1, 100), ("patience", 1, 120), ("fill", None, 1)],
)
def test_numbers_have_their_bounds(name: str, least: float | None, most: float) -> None:
    assert getattr(cluster(**{name: most}), name) == most
    assert f"cluster.{name}" in refused(**{name: most + 1})
    if least is not None:
        assert getattr(cluster(**{name: least}), name) == least
    assert f"cluster.{name}" in refused(**{name: 0})


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_frame_costs_something(kind: str) -> None:
    assert getattr(cluster(frame_cost={kind: 0.031}).frame_cost, kind) == 0.031
    for wrong in (0, -1, 601, "slow"):
        assert f"cluster.frame_cost.{kind}" in refused(frame_cost={kind: wrong})


def test_a_misspelt_key_is_refused() -> None:
    assert "cluster.worker_cpu" in refused(worker_cpu=4)
    assert "cluster.frame_cost.cpus" in refused(frame_cost={"cpus": 0.05})


@pytest.mark.parametrize("wrong", ["", "a b", "a/b", "../up"])
def test_the_name_can_be_part_of_other_names(wrong: str) -> None:
    assert "cluster.name" in refused(name=wrong)


def test_all_problems_are_told_at_once() -> None:
    said = refused(ports="x", moves=0, directory="ipc:///x")

    assert all(f"cluster.{name}" in said for name in ("ports", "moves", "directory"))
