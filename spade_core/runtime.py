"""What runs networks, behind one interface: torch on any device, OpenVINO on CPUs where it is installed.

Used by ``extractor`` and ``place_bank``, which say *what* is computed; here is decided *how*. The results agree up to
rounding (:data:`TOLERANCE`), so that the runtime is no part of what a gallery was made with.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, Protocol

import torch
from torch import Tensor, nn

from spade_core.errors import BackboneError, InputError
from spade_core.model_cache import ModelCache
from spade_core.openvino_runtime import INSTALL, PACKAGE, OpenVinoRuntime

RuntimeName = Literal["openvino", "torch"]

RUNTIMES: Final = ("auto", "openvino", "torch")

TOLERANCE: Final = {"float32": 1e-3, "float16": 2e-2}
"""By the precision that a runtime computes in: how far its features may lie from torch's in float32, as a part of their
norm. Tests hold every runtime to it."""

STATIC_BATCHES: Final = (1, 2, 4, 8, 16, 32, 64)
"""Sizes that batches are filled up to on a GPU: for each new shape cuDNN searches its fastest kernels anew, and the
allocator gets its memory anew. At most half of a batch is filling."""


class Compiled(Protocol):
    """A network that is ready to run."""

    def __call__(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """Outputs of B samples, (B, ...) float32 on the runtime's device, in memory of their own.

        Args:
            batches: one (B, ...) tensor for each input, shaped like the examples but for B, B > 0.

        Raises:
            InputError: the batches have other shapes.
        """
        ...


class Runtime(Protocol):
    """Makes networks ready to run."""

    @property
    def name(self) -> RuntimeName:
        """Which one it is."""
        ...

    @property
    def device(self) -> torch.device:
        """Where inputs are expected and outputs are made."""
        ...

    @property
    def at_once(self) -> int:
        """Calls of a network that may go on side by side, from as many threads, each on its share of the cores. 1: each
        call has all there is, and others wait.
        """
        ...

    def compile(self, network: nn.Module, *examples: Tensor, name: str | None = None, single: bool = False) -> Compiled:
        """Takes the time now that the first call would need else.

        Args:
            network: in evaluation mode, float32; tensors (B, ...) to a tuple of tensors (B, ...). It must not change
                afterwards.
            examples: one (1, ...) tensor for each input.
            name: of the network with its weights, so that what was made of it may be kept for the next start. None: it
                is another one every time.
            single: compute in single precision, whatever this runtime takes else: for sums of squares, which half
                precision has no numbers for.

        Raises:
            BackboneError: this runtime cannot run it.
        """
        ...


class TorchRuntime:
    """torch as it is: nothing is converted.

    Args:
        device: where to compute.
        half: compute in half precision. It needs a GPU to be of use.
        static_batches: fill batches up to one of :data:`STATIC_BATCHES`.
    """

    name: RuntimeName = "torch"
    at_once = 1  # torch has one setting of threads for the whole process

    def __init__(self, device: torch.device, *, half: bool = False, static_batches: bool = False) -> None:
        self.device, self._half, self._static = device, half, static_batches

    def compile(self, network: nn.Module, *examples: Tensor, name: str | None = None, single: bool = False) -> Compiled:
        """See :class:`Runtime`. In half precision it is a copy that runs."""
        if self._half and not single:
            network = copy.deepcopy(network).half()
        # Channels last: what tensor cores want, and a tenth to a quarter faster on CPUs than torch's usual layout.
        placed = network.to(self.device).to(memory_format=torch.channels_last)
        return _TorchNetwork(placed, static=self._static)


class _TorchNetwork:
    def __init__(self, network: nn.Module, *, static: bool) -> None:
        self._network, self._static = network, static

    def __call__(self, *batches: Tensor) -> tuple[Tensor, ...]:
        count = len(batches[0])
        if self._static:
            batches = tuple(_filled(batch) for batch in batches)
        with torch.inference_mode():
            found = self._network(*batches)
        outputs = found if isinstance(found, tuple) else (found,)
        return tuple(output[:count].float() for output in outputs)


def resolve_runtime(runtime: str, device: torch.device) -> RuntimeName:
    """What runs a backbone on this device: ``auto`` is OpenVINO on a CPU where it is installed, and torch elsewhere.

    Raises:
        InputError: ``runtime`` is none of :data:`RUNTIMES`.
        BackboneError: OpenVINO is asked for, but is not installed, or not what runs on this device.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"runtime is {runtime!r}; it must be {', '.join(RUNTIMES)}")
    installed = importlib.util.find_spec(PACKAGE) is not None
    if runtime == "openvino" and device.type != "cpu":
        raise BackboneError(
            f"runtime is 'openvino', but the device is {device}, where torch is what runs: set runtime to auto or "
            f"torch, or device to cpu (with OpenVINO installed: {INSTALL})"
        )
    if runtime == "openvino" and not installed:
        raise BackboneError(f"runtime is 'openvino', which is not installed: {INSTALL}, or set runtime to auto")
    return "openvino" if runtime != "torch" and device.type == "cpu" and installed else "torch"


def make_runtime(runtime: str, device: torch.device, *, at_once: int = 1, cache: Path | None = None) -> Runtime:
    """The runtime of that name; on a GPU in half precision, with static batches.

    Args:
        runtime: see :func:`resolve_runtime`.
        device: where to compute. OpenVINO takes as many cores as torch may use now.
        at_once: calls that are expected side by side; where a runtime cannot, they wait for each other.
        cache: folder where OpenVINO's converted networks are kept; None = nowhere.

    Raises:
        InputError, BackboneError: see :func:`resolve_runtime`; or OpenVINO cannot be loaded.
    """
    if resolve_runtime(runtime, device) == "openvino":
        threads = torch.get_num_threads()
        return OpenVinoRuntime(
            threads=threads, at_once=min(threads, at_once), cache=ModelCache(cache) if cache else None
        )
    on_gpu = device.type == "cuda"
    return TorchRuntime(device, half=on_gpu, static_batches=on_gpu)


def _filled(batch: Tensor) -> Tensor:
    """The batch with its last sample repeated up to a static size."""
    missing = static_size(len(batch), STATIC_BATCHES) - len(batch)
    return torch.cat([batch, batch[-1:].expand(missing, *batch.shape[1:])]) if missing else batch


def static_size(count: int, sizes: Sequence[int]) -> int:
    """The least of the sizes (rising) that holds ``count``; above the largest, a multiple of it."""
    return next((size for size in sizes if count <= size), -(-count // sizes[-1]) * sizes[-1])
