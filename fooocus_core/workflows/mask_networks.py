"""Networks that make masks, which stay in memory once used."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from fooocus_core.choices import MaskModel
from fooocus_core.loading.memory import DevicePlan, free_cached_memory
from fooocus_core.loading.weight_file import weights_state
from fooocus_core.vision.foreground import ForegroundNetwork, load_foreground_network
from fooocus_core.vision.grounding_dino import BoxFinder, load_box_finder
from fooocus_core.vision.sam import Segmenter, load_segmenter

Network = TypeVar("Network")


class MaskNetworks:
    """Loads each network when first asked for, and again when its file has changed.

    Of each kind only the one asked for last stays.
    """

    def __init__(self, plan: DevicePlan) -> None:
        self._plan = plan
        self._foreground: _Latest[ForegroundNetwork] = _Latest()
        self._box_finder: _Latest[BoxFinder] = _Latest()
        self._segmenter: _Latest[Segmenter] = _Latest()

    def foreground(self, path: Path, model: MaskModel) -> ForegroundNetwork:
        """The network in a file that finds what stands out.

        Raises:
            PackageMissingError: ONNX Runtime is not installed.
            ModelFileError: The file cannot be used.
        """
        load = partial(load_foreground_network, path, model, self._plan)
        return self._foreground.of(path, load)

    def box_finder(self, path: Path, vocabulary: Path) -> BoxFinder:
        """The network in a file that finds what a text names.

        Raises:
            ModelFileError: A file cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        return self._box_finder.of(path, partial(load_box_finder, path, vocabulary, self._plan))

    def segmenter(self, path: Path) -> Segmenter:
        """The network in a file that cuts things out.

        Raises:
            ModelFileError: The file cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        return self._segmenter.of(path, partial(load_segmenter, path, self._plan))

    def free(self) -> None:
        """Forget everything loaded."""
        for latest in (self._foreground, self._box_finder, self._segmenter):
            latest.free()


class _Latest(Generic[Network]):
    """Room for one network, known by its file as that is now."""

    def __init__(self) -> None:
        self._state: Hashable = None
        self._network: Network | None = None

    def of(self, path: Path, load: Callable[[], Network]) -> Network:
        state = path, weights_state(path)
        if self._network is None or self._state != state:
            # Before, so that the two do not share the memory.
            self.free()
            self._network = load()
            self._state = state
        return self._network

    def free(self) -> None:
        if self._network is None:
            return
        self._network = None
        # Modules hold reference cycles; without collecting, their memory would stay a while.
        gc.collect()
        free_cached_memory()
