"""A configuration on its way to the nodes: whole, with the variables that it names; none of their values is in view."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stream.cluster.settings_text import ClusterSettings, named_variables
from stream.errors import UsageError

SETTINGS = ClusterSettings(
    config="cameras: [{id: gate, source: 'rtsp://u:${CAM_PASSWORD}@gate/1'}, {id: yard, source: 'rtsp://u:open@y/1'}]",
    base="/srv/campus",
    named="campus.yaml",
    environment={"CAM_PASSWORD": "hush"},
    log_format="json",
    token="life-1",
)


def test_settings_are_the_same_after_their_way() -> None:
    assert ClusterSettings.from_text(SETTINGS.to_text()) == SETTINGS


def test_the_configuration_is_read_with_the_values_that_came_with_it() -> None:
    assert SETTINGS.parsed().camera("gate").source == "rtsp://u:hush@gate/1"


def test_values_of_variables_are_not_in_the_repr() -> None:
    assert "hush" not in repr(SETTINGS)
    assert "open" not in repr(SETTINGS)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": 1}', '{"config": "", "environment": {"A": 1}}'])
def test_what_is_not_well_formed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ClusterSettings.from_text(text)


def test_only_variables_that_the_configuration_names_travel() -> None:
    environment = {"CAM_PASSWORD": "hush", "PATH": "/bin", "OTHER": "x"}

    assert named_variables(SETTINGS.config, environment) == {"CAM_PASSWORD": "hush"}


def test_a_variable_that_is_not_set_is_left_for_the_configuration_to_name() -> None:
    assert named_variables("source: ${NOT_THERE}", {}) == {}


@pytest.mark.parametrize("version", ["0.1.0", ""])
def test_a_node_with_another_version_says_so_and_does_not_begin(version: str) -> None:
    text = replace(SETTINGS, version=version).to_text()

    with pytest.raises(UsageError, match=r"this node has spade-stream .*, and the run .*: install the same"):
        ClusterSettings.from_text(text).check_version()


def test_a_run_that_does_not_tell_its_version_is_of_another_one() -> None:
    fields = json.loads(SETTINGS.to_text())
    del fields["version"]

    with pytest.raises(UsageError, match="an older one"):
        ClusterSettings.from_text(json.dumps(fields)).check_version()
