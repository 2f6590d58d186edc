"""The LoRAs merged into one model, until others are asked for."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fooocus_core.errors import ModelFileError
from fooocus_core.files import FileState
from fooocus_core.loading.checkpoint import Checkpoint, Refiner
from fooocus_core.loading.lora import LoraMatch, match_lora, read_lora
from fooocus_core.loading.memory import DevicePlan, memory_errors
from fooocus_core.loading.weight_file import weights_state
from fooocus_core.loading.weight_patches import PatchSet, merged_weights

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFile:
    """A LoRA file and its weight."""

    path: Path
    weight: float


class MergedLoras:
    """Keeps a list of LoRAs merged into the networks of a model.

    Lists are never merged on top of each other: another list starts from the original weights.
    """

    def __init__(self, model: Checkpoint | Refiner, plan: DevicePlan) -> None:
        self._model = model
        self._plan = plan
        self._merged = ExitStack()
        self._asked: tuple[tuple[FileState, float], ...] = ()
        self._warnings: tuple[str, ...] = ()

    def merge(self, files: Sequence[LoraFile]) -> tuple[str, ...]:
        """Merge exactly these files, in their order. An equal list of files that have not
        changed is left as it is.

        Returns:
            What of the files could not be used, one sentence each.

        Raises:
            ModelFileError: A file cannot be read; no LoRA is merged then.
            DeviceMemoryError: The device has not enough memory; no LoRA is merged then.
        """
        try:
            asked = tuple((weights_state(file.path), file.weight) for file in files)
        except ModelFileError:
            self.undo()
            raise
        if asked == self._asked:
            return self._warnings
        self.undo()
        matches = [(self._match(file), file.weight) for file in files]
        warnings = [warning for match, _ in matches for warning in match.warnings]
        with ExitStack() as merging, memory_errors("merging LoRAs"):
            for network, part in self._networks():
                sets = [
                    PatchSet(source=match.source, patches=getattr(match, part), strength=weight)
                    for match, weight in matches
                ]
                rounding = self._plan.unet if part == "unet" else self._plan.text
                context = merged_weights(network, sets, device=self._plan.device, rounding=rounding)
                warnings += merging.enter_context(context)
            self._merged = merging.pop_all()
        self._asked, self._warnings = asked, tuple(warnings)
        return self._warnings

    @property
    def state(self) -> Hashable:
        """Equal whenever the same LoRAs are merged."""
        return self._asked

    def undo(self) -> None:
        """Put the original weights back, bit for bit."""
        self._asked, self._warnings = (), ()
        self._merged.close()

    def _match(self, file: LoraFile) -> LoraMatch:
        _log.info("LoRA %s at %g", file.path.name, file.weight)
        return match_lora(
            read_lora(file.path),
            source=file.path.name,
            unet=self._model.unet,
            clip_l=self._model.clip_l,
            clip_g=self._model.clip_g,
        )

    def _networks(self) -> list[tuple[nn.Module, str]]:
        """The networks with weights, by the names that :class:`LoraMatch` gives them."""
        found: list[tuple[nn.Module | None, str]] = [
            (self._model.unet, "unet"),
            (self._model.clip_l, "clip_l"),
            (self._model.clip_g, "clip_g"),
        ]
        return [(network, part) for network, part in found if network and not _is_empty(network)]


def _is_empty(network: nn.Module) -> bool:
    return next(network.parameters()).is_meta
