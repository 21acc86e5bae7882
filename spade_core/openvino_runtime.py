"""OpenVINO as the runtime of a backbone on CPUs, where it takes about a third of torch's time. Used by ``backbone``;
``resolve_runtime`` also by whoever says what will run.

The features are torch's to about a millionth, so that the runtime is no part of what a gallery was made with. Importing
this module loads nothing of OpenVINO; making an :class:`OpenVinoNetwork` does.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import warnings
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from spade_core.errors import BackboneError, InputError

Runtime = Literal["openvino", "torch"]

RUNTIMES: Final = ("auto", "openvino", "torch")

_PACKAGE: Final = "openvino"
_TELEMETRY: Final = "openvino_telemetry"
_INSTALL: Final = "pip install 'spade-stream[cpu]'"


def resolve_runtime(runtime: str, device: torch.device) -> Runtime:
    """What runs a backbone on this device: ``auto`` is OpenVINO on a CPU where it is installed, and torch elsewhere.

    Raises:
        InputError: ``runtime`` is none of :data:`RUNTIMES`.
        BackboneError: OpenVINO is asked for, but is not installed, or not what runs on this device.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"runtime is {runtime!r}; it must be {', '.join(RUNTIMES)}")
    installed = importlib.util.find_spec(_PACKAGE) is not None
    if runtime == "openvino" and device.type != "cpu":
        raise BackboneError(
            f"runtime is 'openvino', but the device is {device}, where torch is what runs: set runtime to auto or "
            f"torch, or device to cpu (with OpenVINO installed: {_INSTALL})"
        )
    if runtime == "openvino" and not installed:
        raise BackboneError(f"runtime is 'openvino', which is not installed: {_INSTALL}, or set runtime to auto")
    return "openvino" if runtime != "torch" and device.type == "cpu" and installed else "torch"


class OpenVinoNetwork:
    """A torch network, run by OpenVINO on the CPU. Several threads may call it; they take turns.

    Args:
        network: in evaluation mode, float32, on the CPU: images (B, 3, S, S) to pooled features and a tuple of levels.
            It must not change afterwards: its weights are copied when a size is first met.
        threads: cores to use.

    Raises:
        BackboneError: OpenVINO is there, but cannot be loaded.
    """

    def __init__(self, network: nn.Module, *, threads: int) -> None:
        self._network = network
        self._openvino = _load()
        self._core = self._openvino.Core()
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            # Else CPUs that have bfloat16 use it unasked, and the features are no longer those of other machines.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            # Each process would bind itself to the same first cores, beside readers and other workers that do too.
            "ENABLE_CPU_PINNING": False,
        }
        self._requests: dict[tuple[int, int], Any] = {}  # by height and width
        self._turn = threading.Lock()  # a request runs one image at a time

    def prepare(self, height: int, width: int) -> None:
        """Converts and compiles the network for images of this size: a second or two, which the first call needs else.

        Raises:
            BackboneError: OpenVINO cannot run this network.
        """
        with self._turn:
            self._request(height, width)

    def __call__(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Pooled features (B, D) and the levels (B, C_l, H_l, W_l), float32 on the CPU, in memory of their own, of
        ``images`` (B, 3, S, S) float32.

        Raises:
            BackboneError: OpenVINO cannot run this network.
        """
        with self._turn:
            request = self._request(*images.shape[2:])
            shapes = [tuple(port.shape)[1:] for port in request.model_outputs]
            outputs = [torch.empty((len(images), *shape)) for shape in shapes]
            pixels = images.detach().contiguous().numpy()
            # One image at a time is as fast as a batch (measured on two cores), needs one compiled network for batches
            # of all sizes, and gives an image the same features to the last bit whatever else is in its batch.
            for b in range(len(images)):
                found = request.infer([pixels[b : b + 1]], share_inputs=True, share_outputs=True)
                for port, output in enumerate(outputs):
                    output[b] = torch.from_numpy(found[port])[0]  # a copy: the next image overwrites what was found
        pooled, *levels = outputs
        return pooled, tuple(levels)

    def _request(self, height: int, width: int) -> Any:
        request = self._requests.get((height, width))
        if request is None:
            try:
                request = self._compiled(height, width).create_infer_request()
            except Exception as error:  # of torch's tracer, the converter or the compiler: a dozen unrelated types
                raise BackboneError(
                    f"OpenVINO {self._openvino.__version__} cannot run this network on images of {width}x{height} "
                    f"pixels: {error}. Set the backbone's runtime to torch"
                ) from error
            self._requests[height, width] = request
        return request

    def _compiled(self, height: int, width: int) -> Any:
        # For one size: the traced network holds the paddings of its strided convolutions as numbers.
        example = torch.zeros(1, 3, height, width)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that tracing is deprecated, and that it holds on to sizes
            # Here and not by the converter, which would run the network several times more to check the trace.
            traced = torch.jit.trace(self._network, example, check_trace=False)  # type: ignore[no-untyped-call]
            model = self._openvino.convert_model(traced, example_input=example, input=[list(example.shape)])
        return self._core.compile_model(model, "CPU", self._settings)


def _load() -> Any:
    # At its import OpenVINO reports to Google Analytics through this package, unasked, and leaves an identity in the
    # home folder. It does without where the package is absent. Cameras' machines tell nobody anything.
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]  # None: importing it raises ImportError
    try:
        return importlib.import_module(_PACKAGE)
    except (ImportError, OSError) as error:
        raise BackboneError(
            f"OpenVINO is installed, but cannot be loaded ({error}): {_INSTALL} again, or set the backbone's runtime "
            "to torch"
        ) from error
