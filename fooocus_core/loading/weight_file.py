"""Reading weight files: safetensors mapped into memory, torch files without executing anything.

Does not know what the tensors are for.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fooocus_core.errors import ModelFileError
from fooocus_core.files import FileState, file_state

Tensors = Mapping[str, Tensor]

_TABLES = ("state_dict", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """The tensors of one file by name, in the file's own dtypes, on the CPU.

    Attributes:
        tensors: From a safetensors file these are views of the mapped file: cheap, and not read
            from disk before they are used.
        metadata: Text entries of a safetensors header.
    """

    path: Path
    tensors: Tensors
    metadata: Mapping[str, str]

    def section(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with ``prefix``, by the rest of the name."""
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }


def weights_state(path: Path) -> FileState:
    """What has to be equal for networks read from a weight file to be up to date.

    Raises:
        ModelFileError: The file is missing.
    """
    try:
        return file_state(path)
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read: {error.strerror}.") from error


def read_weights(path: Path) -> WeightFile:
    """Open a weight file whose content is one flat table of tensors.

    A torch file may hold the table under ``state_dict`` or ``model``; entries that are not tensors
    are left out.

    Raises:
        ModelFileError: The file is missing, truncated, corrupt, or holds no tensors.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = read_torch_file(path)
    for key in _TABLES:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ModelFileError(f"{path.name} does not hold a table of tensors.")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ModelFileError(f"{path.name} holds no tensors.")
    return WeightFile(path=path, tensors=tensors, metadata={})


def read_torch_file(path: Path) -> Any:
    """Content of a torch file: tensors and plain containers only, nothing in it is executed.

    Raises:
        ModelFileError: The file is missing, damaged, or contains anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"{path.name} is damaged or holds more than tensors and plain containers."
        ) from error
    except Exception as error:  # a damaged file makes the library raise nearly anything
        raise ModelFileError(f"{path.name} cannot be read: {_first_line(error)}") from error


def _read_safetensors(path: Path) -> WeightFile:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(
            f"{path.name} cannot be read, it may be truncated or damaged: {_first_line(error)}"
        ) from error
    if not tensors:
        raise ModelFileError(f"{path.name} holds no tensors.")
    return WeightFile(path=path, tensors=tensors, metadata=metadata)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
