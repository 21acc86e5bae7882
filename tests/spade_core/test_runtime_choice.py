"""Which runtime a backbone gets, with OpenVINO there and without; needs none of it installed."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable

import pytest
import torch

from spade_core.backbone import load_backbone
from spade_core.errors import BackboneError, InputError
from spade_core.runtime import resolve_runtime

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Makes OpenVINO look installed or absent."""

    def pretend(there: bool) -> None:
        spec = importlib.machinery.ModuleSpec("openvino", None) if there else None
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)

    return pretend


@pytest.mark.parametrize(
    ("there", "asked", "device", "given"),
    [
        (True, "auto", CPU, "openvino"),
        (False, "auto", CPU, "torch"),
        (True, "auto", GPU, "torch"),
        (True, "openvino", CPU, "openvino"),
        (True, "torch", CPU, "torch"),
        (False, "torch", GPU, "torch"),
    ],
)
def test_runtimes_by_name(
    installed: Callable[[bool], None], there: bool, asked: str, device: torch.device, given: str
) -> None:
    installed(there)
    assert resolve_runtime(asked, device) == given


def test_openvino_that_is_not_installed_is_an_error_with_a_remedy(installed: Callable[[bool], None]) -> None:
    installed(False)
    with pytest.raises(
        BackboneError, match=r"not installed: pip install 'spade-stream\[cpu\]', or set runtime to auto"
    ):
        load_backbone("efficientnet_lite0", runtime="openvino")


@pytest.mark.parametrize("there", [True, False])
def test_openvino_on_a_gpu_is_an_error_with_a_remedy(installed: Callable[[bool], None], there: bool) -> None:
    installed(there)
    with pytest.raises(BackboneError, match=r"the device is cuda:0.*device to cpu .*pip install 'spade-stream\[cpu\]'"):
        resolve_runtime("openvino", GPU)


def test_another_runtime_is_refused() -> None:
    with pytest.raises(InputError, match="runtime is 'onnx'; it must be auto, openvino, torch"):
        load_backbone("efficientnet_lite0", runtime="onnx")


def test_torch_runs_a_backbone_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # importing it would raise
    assert load_backbone("efficientnet_lite0").runtime.name == "torch"
    assert load_backbone("efficientnet_lite0", runtime="auto").runtime.name == "torch"
