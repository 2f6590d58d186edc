"""Models that are not in use now, kept in main memory so that switching back reads no file.

Does not know which models are in use.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

from torch import nn

from fooocus_core.loading.checkpoint import Checkpoint, Refiner
from fooocus_core.main_memory import available_bytes, give_freed_memory_back

_log = logging.getLogger(__name__)

# Main memory that is left to pictures, to what else runs, and to the system's own cache of files.
SPARE_MEMORY = 4 * 2**30

Model = TypeVar("Model", Checkpoint, Refiner)


class WarmModels:
    """The models used last, up to a limit; those not used for longest go first."""

    def __init__(
        self, limit: int | None = None, available: Callable[[], int | None] = available_bytes
    ) -> None:
        """Start empty.

        Args:
            limit: Most bytes of weights kept; 0 = keep nothing; ``None`` = whatever leaves
                ``SPARE_MEMORY`` of main memory, and nothing where that cannot be told.
            available: Tells how many bytes of main memory could still be taken; ``None`` = that
                cannot be told.
        """
        self._limit = limit
        self._available = available
        self._models: dict[tuple[type, Hashable], Checkpoint | Refiner] = {}

    def keep(self, states: Hashable, model: Checkpoint | Refiner) -> None:
        """Keep a model whose weights are its own and lie in main memory.

        Limits count from the next :meth:`make_room` on, so that what is to be used next can be
        taken before.
        """
        self._models[type(model), states] = model

    def take(self, kind: type[Model], states: Hashable) -> Model | None:
        """The model of these files, which is no longer kept then; ``None`` = it is not here."""
        model = self._models.pop((kind, states), None)
        assert model is None or isinstance(model, kind)
        return model

    def make_room(self, needed: int = 0) -> None:
        """Let go of models until the limit is kept and ``needed`` bytes of main memory are free."""
        self._drop_while(lambda: self._is_crowded(needed))

    def free(self) -> None:
        """Let go of all models."""
        self._drop_while(lambda: True)

    def _is_crowded(self, needed: int) -> bool:
        if (self._available() or 0) - needed < SPARE_MEMORY:
            return True
        size = sum(weight_bytes(model) for model in self._models.values())
        return self._limit is not None and size > self._limit

    def _drop_while(self, is_crowded: Callable[[], bool]) -> None:
        while self._models and is_crowded():
            key = next(iter(self._models))
            _log.info("Letting go of %s", self._models.pop(key).path.name)
            # Modules hold reference cycles; without collecting, their memory would stay a while.
            gc.collect()
            give_freed_memory_back()


def networks_of(model: Checkpoint | Refiner) -> Iterator[nn.Module]:
    """The networks of a model that have weights."""
    for network in (model.unet, model.vae, model.clip_l, model.clip_g):
        if network is not None and not next(network.parameters()).is_meta:
            yield network


def weight_bytes(model: Checkpoint | Refiner) -> int:
    """Bytes of all weights and buffers of a model."""
    return sum(
        tensor.nbytes for network in networks_of(model) for tensor in network.state_dict().values()
    )
