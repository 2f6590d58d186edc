"""Networks in ONNX files, computed by ONNX Runtime on the CPU.

Does not know what the networks are for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fooocus_core.errors import ModelFileError, PackageMissingError
from fooocus_core.loading.memory import DevicePlan


class OnnxNetwork:
    """A network with one input, of which the first output is wanted."""

    def __init__(self, session: Any, name: str) -> None:
        """Take over an ``InferenceSession``; ``name`` is that of its file, for errors."""
        self._session = session
        self._name = name

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Sides of the input; ``None`` where the file names no number."""
        shape = self._session.get_inputs()[0].shape
        return tuple(side if isinstance(side, int) else None for side in shape)

    def run(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The first output for an input of the shape asked for.

        Raises:
            ModelFileError: It cannot be computed, or has values that are not finite.
        """
        inputs = {self._session.get_inputs()[0].name: values}
        try:
            output = self._session.run([self._session.get_outputs()[0].name], inputs)[0]
        except Exception as error:  # the library's exceptions have no class of their own
            raise ModelFileError(f"{self._name} cannot be computed: {error}") from error
        if not np.isfinite(output).all():
            raise ModelFileError(
                f"{self._name} gave values that are not finite; the file is damaged."
            )
        result: NDArray[np.float32] = output
        return result


def load_onnx(path: Path, plan: DevicePlan) -> OnnxNetwork:
    """Open an ONNX file.

    Args:
        plan: Says how many threads compute.

    Raises:
        PackageMissingError: ONNX Runtime is not installed.
        ModelFileError: The file is missing, damaged, or no network with an input and an output.
    """
    try:
        # Not at the top: it is an optional dependency, and only these networks need it.
        import onnxruntime
    except ImportError as error:
        raise PackageMissingError(
            f"{path.name} needs the package onnxruntime: install the extra 'onnx' of fooocusapi."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = plan.threads or 0
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's exceptions have no class of their own
        raise ModelFileError(f"{path.name} cannot be read: {error}") from error
    if not (session.get_inputs() and session.get_outputs()):
        raise ModelFileError(f"{path.name} is no network with an input and an output.")
    return OnnxNetwork(session, path.name)
