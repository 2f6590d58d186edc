"""Giving a network built without memory its weights, and saying what is wrong with a file's.

Does not know which networks there are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers.initialization import no_init_weights

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.weight_file import Tensors

_LISTED = 5


def fill_weights(module: nn.Module, state: Tensors, device: torch.device) -> None:
    """Give a module built without memory its weights, without copying them.

    Args:
        module: Ends up in evaluation mode and without gradients.
        state: By the module's names.
        device: Where they are; the module's own buffers follow.

    Raises:
        ModelFileError: An entry is missing, unexpected or of another shape; names the first few.
    """
    expected = module.state_dict()
    if missing := [name for name in expected if name not in state]:
        raise ModelFileError(f"Missing entries: {list_names(missing)}")
    if unexpected := [name for name in state if name not in expected]:
        raise ModelFileError(f"Unexpected entries: {list_names(unexpected)}")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise ModelFileError(
                f"{name} has shape {tuple(tensor.shape)}, needed is {tuple(expected[name].shape)}"
            )
    module.load_state_dict(state, strict=True, assign=True)
    module.to(device).eval().requires_grad_(requires_grad=False)


@contextlib.contextmanager
def without_memory() -> Iterator[None]:
    """Have networks that are made inside take no memory, and no time to be initialised."""
    with no_init_weights(), init_empty_weights(include_buffers=False):
        yield


@contextlib.contextmanager
def naming_part(path: Path, part: str) -> Iterator[None]:
    """Say which part of which file cannot be loaded, whatever its odd entries made fail.

    Raises:
        ModelFileError: The entries read inside cannot be used.
    """
    beginning = f"The {part} in {path.name} cannot be loaded."
    try:
        yield
    except (ModelFileError, ValueError) as error:
        raise ModelFileError(f"{beginning} {error}") from error
    except KeyError as error:
        raise ModelFileError(f"{beginning} Missing entries: {error.args[0]}") from error
    except (IndexError, AttributeError, TypeError, ZeroDivisionError) as error:
        raise ModelFileError(f"{beginning} Its entries do not fit together.") from error


def list_names(names: Sequence[str]) -> str:
    """The first few of the names, and how many more there are."""
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"
