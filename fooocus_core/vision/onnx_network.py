"""Running networks in ONNX files, on the CPU.

Knows neither what their inputs show nor what their outputs mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fooocus_core.errors import ModelFileError, PackageNotFoundError
from fooocus_core.loading.memory import DevicePlan

_PROVIDERS = ["CPUExecutionProvider"]
_FLOAT = "tensor(float)"
_RANK = 4
_ERRORS_ONLY = 3


class OnnxNetwork:
    """A network with one float32 picture as input, of which the first output counts.

    Attributes:
        name: Of its file.
    """

    def __init__(self, session: Any, name: str) -> None:
        """Take over a session of the library."""
        self.name = name
        self._session = session
        self._input: str = session.get_inputs()[0].name
        self._output: str = session.get_outputs()[0].name

    def run(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Evaluate the network.

        Args:
            pixels: Of four dimensions.

        Raises:
            ModelFileError: The network does not take a picture of this shape, fails, or gives
                values that are not finite.
        """
        try:
            (output,) = self._session.run([self._output], {self._input: pixels})
        except Exception as error:  # the library's own errors have no class in common
            raise ModelFileError(
                f"{self.name} cannot be evaluated: {_first_line(error)}"
            ) from error
        values = np.asarray(output, dtype=np.float32)
        if not np.isfinite(values).all():
            raise ModelFileError(
                f"{self.name} gave values that are not finite; the file is damaged."
            )
        return values


def load_onnx(path: Path, plan: DevicePlan) -> OnnxNetwork:
    """Load a network, which computes on the CPU on every device.

    Raises:
        PackageNotFoundError: The library that runs such files is not installed.
        ModelFileError: The file is unreadable, or has other inputs than one float32 picture.
    """
    # An optional dependency, and heavy: whoever makes no masks and describes nothing needs none.
    try:
        import onnxruntime
    except ImportError as error:
        raise PackageNotFoundError(
            f"{path.name} needs the package onnxruntime, which is not installed; install it with: "
            "pip install 'fooocusapi[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if plan.threads is not None:
        options.intra_op_num_threads = plan.threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=_PROVIDERS)
    except Exception as error:  # the library's own errors have no class in common
        raise ModelFileError(f"{path.name} cannot be loaded: {_first_line(error)}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != _FLOAT or len(inputs[0].shape) != _RANK:
        raise ModelFileError(f"{path.name} does not take one picture, so it is another network.")
    return OnnxNetwork(session, path.name)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
