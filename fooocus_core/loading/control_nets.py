"""The control nets in memory: kept as long as their files and the base model stay as they are.

Used by the engine's one thread; does not know which pictures they read.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

from diffusers.models.controlnets.controlnet import ControlNetModel

from fooocus_core.files import FileState
from fooocus_core.loading.memory import free_cached_memory
from fooocus_core.loading.weight_file import weights_state

_log = logging.getLogger(__name__)


class ControlNets:
    """Keeps the control nets that were last asked for, all made for the same base model."""

    def __init__(self, release: Callable[[ControlNetModel], None]) -> None:
        """Start empty; ``release`` takes back what is lent of a network before it is freed."""
        self._release = release
        self._base: Hashable = None
        self._networks: dict[FileState, ControlNetModel] = {}

    def prepare(
        self, files: Sequence[Path], base: Hashable, load: Callable[[Path], ControlNetModel]
    ) -> Mapping[Path, ControlNetModel]:
        """Have the control nets of these files in memory, and no others.

        What is no longer asked for, was made of another file or for other weights, is freed before
        anything is loaded. A file that fails to load leaves nothing in its place.

        Args:
            files: Control-LoRA files; the same one twice is one network.
            base: Equal whenever the weights of the base model are the same.
            load: Makes a control net for the base model out of a file.

        Returns:
            The networks by their files.

        Raises:
            ModelFileError: A file is missing or cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        states = {file: weights_state(file) for file in files}
        self._free_unless(set(states.values()) if base == self._base else set())
        self._base = base
        for file, state in states.items():
            if state not in self._networks:
                _log.info("Loading %s", file.name)
                self._networks[state] = load(file)
        return {file: self._networks[state] for file, state in states.items()}

    def free(self) -> None:
        """Forget all of them and hand their memory back."""
        self._free_unless(set())

    def _free_unless(self, wanted: set[FileState]) -> None:
        unwanted = self._networks.keys() - wanted
        for state in unwanted:
            self._release(self._networks.pop(state))
        if unwanted:
            # Modules hold reference cycles; without collecting, their memory would stay a while.
            gc.collect()
            free_cached_memory()
