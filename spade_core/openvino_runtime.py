"""OpenVINO as a runtime for CPUs, where it takes about a third of torch's time. Made by ``runtime.make_runtime``.

Importing this module loads nothing of OpenVINO; making an :class:`OpenVinoRuntime` does.
"""

from __future__ import annotations

import hashlib
import importlib
import queue
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from spade_core.errors import BackboneError, InputError
from spade_core.model_cache import ModelCache

PACKAGE: Final = "openvino"
INSTALL: Final = "pip install 'spade-stream[cpu]'"

_TELEMETRY: Final = "openvino_telemetry"

_SETTINGS: Final[Mapping[str, Any]] = {
    # Else CPUs that have bfloat16 use it unasked, and the features are no longer those of other machines.
    "INFERENCE_PRECISION_HINT": "f32",
    # Each process would bind itself to the same first cores, beside readers and other workers that do too.
    "ENABLE_CPU_PINNING": False,
}


class OpenVinoRuntime:
    """Runs networks in OpenVINO. See :class:`spade_core.runtime.Runtime`.

    Args:
        threads: cores to use.
        at_once: calls side by side, at most ``threads``. Two samples on a core each cost a third less of the processor
            than one after the other on both, and none waits for the other where a core is busy with something else;
            but a sample that comes alone takes half as long again.
        cache: where converted networks are kept; None = nowhere.

    Raises:
        BackboneError: OpenVINO is there, but cannot be loaded.
    """

    name: Literal["openvino"] = "openvino"
    device: Final = torch.device("cpu")

    def __init__(self, *, threads: int, at_once: int = 1, cache: ModelCache | None = None) -> None:
        self.threads, self.at_once, self._cache = threads, at_once, cache
        self._openvino = _load()
        self._core = self._openvino.Core()

    def compile(
        self, network: nn.Module, *examples: Tensor, name: str | None = None, single: bool = True
    ) -> OpenVinoNetwork:
        """Converts and compiles a network for samples like the examples: a second or two for a backbone. Here all is in
        single precision.

        Raises:
            BackboneError: OpenVINO cannot run this network.
        """
        try:
            compiled = self._core.compile_model(self._model(network, examples, name), "CPU", self._settings())
            return OpenVinoNetwork(self._openvino, compiled, at_once=self.at_once)
        except Exception as error:  # of torch's tracer, the converter or the compiler: a dozen unrelated types
            shapes = ", ".join(str(tuple(example.shape)) for example in examples)
            raise BackboneError(
                f"OpenVINO {self._openvino.__version__} cannot run this network on inputs of shape {shapes}: {error}. "
                "Set the backbone's runtime to torch"
            ) from error

    def _settings(self) -> dict[str, Any]:
        how: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if self.at_once > 1:
            how = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": self.at_once}
        return {**_SETTINGS, **how, "INFERENCE_NUM_THREADS": self.threads}

    def _model(self, network: nn.Module, examples: Sequence[Tensor], name: str | None) -> Any:
        if self._cache is None or name is None:
            return self._converted(network, examples)
        shapes = [f"{tuple(example.shape)} {example.dtype}" for example in examples]
        key = (name, *shapes, self._openvino.__version__, torch.__version__, _sources())
        if (file := self._cache.find(*key)) is not None:
            return self._core.read_model(file)
        model = self._converted(network, examples)
        self._cache.keep(lambda path: self._openvino.save_model(model, path, compress_to_fp16=False), *key)
        return model

    def _converted(self, network: nn.Module, examples: Sequence[Tensor]) -> Any:
        # For one size: the traced network holds the paddings of its strided convolutions as numbers.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that tracing is deprecated, and that it holds on to sizes
            # Here and not by the converter, which would run the network several times more to check the trace.
            traced = torch.jit.trace(network, tuple(examples), check_trace=False)  # type: ignore[no-untyped-call]
            shapes = [list(example.shape) for example in examples]
            return self._openvino.convert_model(traced, example_input=tuple(examples), input=shapes)


class OpenVinoNetwork:
    """A compiled network. Several threads may call it: as many at once as there are requests, and the others wait.

    Args:
        openvino: the package.
        compiled: the network.
        at_once: samples that it computes side by side.
    """

    def __init__(self, openvino: Any, compiled: Any, *, at_once: int) -> None:
        self._openvino, self.compiled = openvino, compiled
        self._inputs = [tuple(port.shape)[1:] for port in compiled.inputs]
        self._outputs = [tuple(port.shape)[1:] for port in compiled.outputs]
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()  # a request runs one sample at a time
        for _ in range(at_once):
            self._free.put(compiled.create_infer_request())

    def __call__(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """See :class:`spade_core.runtime.Compiled`."""
        found = [tuple(batch.shape)[1:] for batch in batches]
        if found != self._inputs:
            raise InputError(f"inputs have shapes {found} a sample; this network was compiled for {self._inputs}")
        count, given = len(batches[0]), [batch.detach().contiguous().numpy() for batch in batches]
        outputs = [torch.empty((count, *shape)) for shape in self._outputs]
        into = [output.numpy() for output in outputs]
        requests = self._taken(count)
        try:
            for start in range(0, count, len(requests)):
                *beside, last = requests[: count - start]
                for b, request in enumerate(beside, start):
                    self._bind(request, b, given, into)
                    request.start_async()
                self._bind(last, start + len(beside), given, into)
                last.infer()  # in place of a hand-over to another thread, which costs 3 % of a backbone's pass
                for request in beside:
                    request.wait()
        finally:
            for request in requests:
                self._free.put(request)
        return tuple(outputs)

    def _taken(self, count: int) -> list[Any]:
        """One request, and as many more as are free and of use for so many samples."""
        requests = [self._free.get()]
        with suppress(queue.Empty):
            while len(requests) < count:
                requests.append(self._free.get_nowait())
        return requests

    def _bind(self, request: Any, b: int, given: Sequence[np.ndarray], into: Sequence[np.ndarray]) -> None:
        """Sample b is read from where it lies, and its outputs are written to where they are wanted."""
        for i, batch in enumerate(given):
            request.set_input_tensor(i, self._openvino.Tensor(batch[b : b + 1], shared_memory=True))
        for i, output in enumerate(into):
            request.set_output_tensor(i, self._openvino.Tensor(output[b : b + 1], shared_memory=True))


def _sources() -> str:
    """Digest of this package's code: what it made of a network yesterday it need not make of it today."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _load() -> Any:
    # At its import OpenVINO reports to Google Analytics through this package, unasked, and leaves an identity in the
    # home folder. It does without where the package is absent. Cameras' machines tell nobody anything.
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]  # None: importing it raises ImportError
    try:
        return importlib.import_module(PACKAGE)
    except (ImportError, OSError) as error:
        raise BackboneError(
            f"OpenVINO is installed, but cannot be loaded ({error}): {INSTALL} again, or set the backbone's runtime to "
            "torch"
        ) from error
