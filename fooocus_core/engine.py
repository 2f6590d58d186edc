"""The engine: owns the device and the models, and runs plans. Used by one thread."""

from __future__ import annotations

import logging
from collections.abc import Generator

import torch

from fooocus_core.catalog import Catalog, ModelKind, choose_base
from fooocus_core.config import CoreConfig, DeviceOptions
from fooocus_core.events import CancelToken, EventSink, GeneratedImage
from fooocus_core.hashes import HASH_CACHE_FILE, HashCache
from fooocus_core.loading.memory import device_failures, memory_errors, pick_device, set_up_torch
from fooocus_core.loading.store import ModelFiles, ModelStore
from fooocus_core.params import GenerationParams
from fooocus_core.plan import Library, make_plan
from fooocus_core.prompt.styles import StyleLibrary, load_styles
from fooocus_core.prompt.wildcards import Wildcards
from fooocus_core.text.tokens import Tokenizer
from fooocus_core.workflows.auxiliary import AuxiliaryNetworks
from fooocus_core.workflows.generate import generate
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.resources import Resources

_log = logging.getLogger(__name__)


def create_engine(config: CoreConfig, options: DeviceOptions) -> Engine:
    """Make an engine for the device that the options choose; loads no model yet."""
    plan = pick_device(options)
    set_up_torch(plan)
    _log.info("device %s, UNet in %s, VAE in %s", plan.device, plan.unet, plan.vae)
    resources = Resources(
        config=config,
        catalog=Catalog(config.folders),
        hashes=HashCache(config.folders.outputs / HASH_CACHE_FILE),
        models=ModelStore(plan),
        auxiliary=AuxiliaryNetworks(plan, config.folders),
        tokenizer=Tokenizer(),
    )
    return Engine(resources, load_styles(config.folders.user_styles))


class Engine:
    """Makes pictures out of parameters."""

    def __init__(self, resources: Resources, styles: StyleLibrary) -> None:
        self._resources = resources
        self._styles = styles

    def load(self) -> None:
        """Bring in the base model of requests that name none.

        Raises:
            ModelNotFoundError: The file is not in its folders.
            ModelFileError: The file cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        defaults = self._resources.config.defaults
        catalog = self._resources.catalog
        files = ModelFiles(
            base=catalog.find(
                ModelKind.CHECKPOINT, choose_base(catalog, defaults) or defaults.model
            ),
            vae=catalog.find(ModelKind.VAE, defaults.vae) if defaults.vae else None,
        )
        self._resources.models.prepare(files)

    @torch.no_grad()
    def generate(
        self, params: GenerationParams, on_event: EventSink, cancel: CancelToken
    ) -> Generator[GeneratedImage]:
        """Make pictures, each handed out as soon as it is finished.

        Raises:
            RunCancelled: ``cancel`` was switched; pictures handed out before are kept.
            FooocusError: The run failed for a known cause; :class:`DeviceMemoryError` and
                :class:`DeviceFailedError` among them.
        """
        library = Library(
            styles=self._styles,
            wildcards=Wildcards(self._resources.config.folders.wildcards),
            catalog=self._resources.catalog,
            max_loras=self._resources.config.defaults.max_loras,
        )
        plan = make_plan(params, library, cancel.raise_if_cancelled)
        with device_failures(), memory_errors("making a picture"):
            yield from generate(plan, self._resources, Reporter(on_event, cancel))

    def free_memory(self) -> None:
        """Let go of all models and of cached device memory."""
        self._resources.free()
