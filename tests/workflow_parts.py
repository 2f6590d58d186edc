"""What tests of workflows share: resources without a service, plans, an encoder without a VAE."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fooocus_core.catalog import Catalog
from fooocus_core.config import load_config
from fooocus_core.events import CancelToken, Event, Progress, Warned
from fooocus_core.hashes import HashCache
from fooocus_core.loading.memory import Streaming
from fooocus_core.loading.store import ModelStore
from fooocus_core.params import GenerationParams, Size
from fooocus_core.plan import Library, Plan, make_plan
from fooocus_core.prompt.styles import load_styles
from fooocus_core.prompt.wildcards import Wildcards
from fooocus_core.sampling.inpaint_blend import KnownPart
from fooocus_core.sampling.refiner import Model, Route
from fooocus_core.text.tokens import Tokenizer
from fooocus_core.workflows.auxiliary import AuxiliaryNetworks
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.resources import Resources
from fooocus_core.workflows.start import Start
from tests.networks import CPU_PLAN

# Another device than "cpu" to the code, and the same memory to torch.
ELSEWHERE = torch.device("cpu", 0)
_MOVING = replace(
    CPU_PLAN, device=ELSEWHERE, vae_device=ELSEWHERE, text_device=ELSEWHERE, stays=False
)
# Every memory mode in which weights move.
MOVING_PLANS = {
    "normal": _MOVING,
    "low": replace(_MOVING, streaming=Streaming.BLOCKS, text_device=torch.device("cpu")),
    "no": replace(_MOVING, streaming=Streaming.LAYERS, text_device=torch.device("cpu")),
    "no, others stay": replace(_MOVING, stays=True, streaming=Streaming.LAYERS),
}
# By default test_generate.py is content with two, and others make none.
MEMORY_MODES = [
    pytest.param(plan, id=name, marks=() if name in {"normal", "no"} else pytest.mark.slow)
    for name, plan in MOVING_PLANS.items()
]


def carry_copy(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor as to another device."""
    assert device == ELSEWHERE
    return tensor.clone()


def make_resources(models: Path, folder: Path, store: ModelStore | None = None) -> Resources:
    """Resources over a folder of models, on the CPU unless a store is given.

    ``folder`` is for files that are written.
    """
    store = store or ModelStore(CPU_PLAN)
    config = load_config(root=folder, models_path=models, environ={})
    return Resources(
        config=config,
        catalog=Catalog(config.folders),
        hashes=HashCache(folder / "hashes"),
        models=store,
        auxiliary=AuxiliaryNetworks(store.plan, Catalog(config.folders)),
        tokenizer=Tokenizer(),
    )


def plan_for(params: GenerationParams, resources: Resources) -> Plan:
    """The plan that an engine with these resources makes."""
    library = Library(
        styles=load_styles(None),
        wildcards=Wildcards(resources.config.folders.wildcards),
        catalog=resources.catalog,
        max_loras=5,
    )
    return make_plan(params, library)


def hole_start(resources: Resources) -> Start:
    """The start of a hole in the middle of a picture of 64x64, without a VAE's part in it."""
    random = torch.Generator().manual_seed(1)
    latent = torch.randn(1, 4, 8, 8, generator=random)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1.0
    known = KnownPart(latent=latent, mask=mask)
    head = resources.auxiliary.inpaint_head()
    return Start(
        size=Size(64, 64),
        recorded_size=Size(64, 64),
        latent=latent,
        known={Model.BASE: known, Model.REFINER: known},
        patches=(head.feature(mask, latent),),
    )


class Listener:
    """A reporter, and what it was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.token = CancelToken()
        self.reporter = Reporter(self.events.append, self.token)

    @property
    def progress(self) -> list[tuple[int, str]]:
        """Percentages and texts."""
        return [(e.percent, e.text) for e in self.events if isinstance(e, Progress)]

    @property
    def warnings(self) -> list[str]:
        """Sentences."""
        return [event.text for event in self.events if isinstance(event, Warned)]


class NumberingEncoder:
    """Stands in for a ``PictureEncoder``: latents hold the number of their call.

    Attributes:
        calls: Model, size of the picture, ``crop``, ``tiled``.
    """

    def __init__(self, route: Route, *, with_vae: tuple[Model, ...] = (Model.BASE,)) -> None:
        self._route = route
        self._with_vae = with_vae
        self.asked: list[float] = []
        self.calls: list[tuple[Model, tuple[int, int], bool, bool]] = []

    def route(self, denoise: float) -> Route:
        self.asked.append(denoise)
        return self._route

    def has_vae(self, model: Model) -> bool:
        return model in self._with_vae

    def encode(
        self, pixels: Tensor, model: Model, *, crop: bool = True, tiled: bool = False
    ) -> Tensor:
        height, width = pixels.shape[-2:]
        self.calls.append((model, (width, height), crop, tiled))
        return torch.full((1, 4, height // 8, width // 8), float(len(self.calls)))
