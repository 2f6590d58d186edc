"""The engine: owns the device and the models, and runs plans. Used by one thread."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import nullcontext

import torch

from fooocus_core.catalog import Catalog, ModelKind, choose_base
from fooocus_core.choices import DescribeKind, MaskModel
from fooocus_core.config import CoreConfig, DeviceOptions
from fooocus_core.events import CancelToken, EventSink, GeneratedImage
from fooocus_core.feature_files import preset_files
from fooocus_core.fetching import Check
from fooocus_core.hashes import HASH_CACHE_FILE, HashCache
from fooocus_core.images.arrays import Mask, to_rgb
from fooocus_core.loading.memory import (
    device_failures,
    find_gpu,
    free_bytes,
    memory_errors,
    pick_device,
    set_up_torch,
)
from fooocus_core.loading.store import ModelFiles, ModelStore
from fooocus_core.loading.warm import WarmModels
from fooocus_core.main_memory import give_freed_memory_back, keeping_freed_memory
from fooocus_core.params import GenerationParams, Image, MaskParams
from fooocus_core.plan import Library, make_plan
from fooocus_core.prompt.styles import StyleLibrary, load_styles
from fooocus_core.prompt.wildcards import Wildcards
from fooocus_core.text.tokens import Tokenizer
from fooocus_core.transfer_progress import shown_size
from fooocus_core.workflows.auxiliary import AuxiliaryNetworks
from fooocus_core.workflows.describe import describe
from fooocus_core.workflows.first_fetch import fetch_missing
from fooocus_core.workflows.generate import generate
from fooocus_core.workflows.generate_mask import generate_mask
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.resources import Resources

_log = logging.getLogger(__name__)


def create_engine(config: CoreConfig, options: DeviceOptions) -> Engine:
    """Make an engine for the device that the options choose; loads no model yet."""
    plan = pick_device(options)
    set_up_torch(plan)
    _log.info("device %s, UNet in %s, VAE in %s", plan.device, plan.unet, plan.vae)
    catalog = Catalog(config.folders)
    resources = Resources(
        config=config,
        catalog=catalog,
        hashes=HashCache(config.folders.cache / HASH_CACHE_FILE),
        models=ModelStore(plan, warm=WarmModels(options.model_cache)),
        auxiliary=AuxiliaryNetworks(plan, catalog),
        tokenizer=Tokenizer(),
    )
    networks_compute_here = plan.device.type == "cpu"
    return Engine(
        resources, load_styles(config.folders.user_styles), keeps_freed=networks_compute_here
    )


def describe_device(options: DeviceOptions) -> list[str]:
    """What an engine with these options would compute on, one sentence each, for people to read."""
    plan, gpu = pick_device(options), find_gpu()
    name = gpu.name if gpu is not None and plan.device.type == "cuda" else "no GPU is used"
    free = shown_size(free_bytes(plan.device)) if plan.device.type == "cuda" else None
    memory = f", {free} of its memory are free" if free else ""
    dtypes = {
        "weights of the UNet": plan.unet,
        "of the VAE": plan.vae,
        "of the text encoders": plan.text,
        "the UNet computes in": plan.unet_compute,
        "the VAE in": plan.vae_compute,
    }
    formats = (f"{what} {str(dtype).removeprefix('torch.')}" for what, dtype in dtypes.items())
    return [f"{plan.device} ({name}{memory})", ", ".join(formats)]


class Engine:
    """Makes pictures out of parameters."""

    def __init__(
        self, resources: Resources, styles: StyleLibrary, *, keeps_freed: bool = False
    ) -> None:
        """Wrap what runs need.

        Args:
            resources: Models, tokenizer and folders.
            styles: Texts of the styles that requests may name.
            keeps_freed: Whether main memory that a run frees stays with this process until
                :meth:`rest`, which is faster where networks compute on the CPU. Runs that are to
                save memory keep nothing.
        """
        self._resources = resources
        self._styles = styles
        self._keeping = keeping_freed_memory if keeps_freed else nullcontext

    def load(self, check: Check = lambda: None) -> None:
        """Fetch what the preset needs, and bring in the base model of requests that name none.

        Args:
            check: Called while files are fetched; what it raises ends the loading.

        Raises:
            ModelNotFoundError: The file is not in its folders, and could not be fetched.
            ModelFileError: The file cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        config, catalog = self._resources.config, self._resources.catalog
        defaults = config.defaults
        fetch_missing(preset_files(config, catalog), config, catalog, check=check)
        files = ModelFiles(
            base=catalog.find(
                ModelKind.CHECKPOINT, choose_base(catalog, defaults) or defaults.model
            ),
            vae=catalog.find(ModelKind.VAE, defaults.vae) if defaults.vae else None,
        )
        self._resources.models.prepare(files)

    @torch.no_grad()
    def generate(
        self,
        params: GenerationParams,
        on_event: EventSink,
        cancel: CancelToken,
        *,
        saves_memory: bool = False,
    ) -> Generator[GeneratedImage]:
        """Make pictures, each handed out as soon as it is finished.

        Args:
            saves_memory: Take as little device memory as can be, and much longer; the pictures are
                the same.

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
        chosen = self._resources.lean() if saves_memory else nullcontext(self._resources)
        errors = memory_errors("making a picture")
        keeping = nullcontext() if saves_memory else self._keeping()
        with keeping, device_failures(), errors, chosen as resources:
            yield from generate(plan, resources, Reporter(on_event, cancel))

    def describe(self, image: Image, kind: DescribeKind) -> str:
        """Say in words what a picture shows; see :func:`~fooocus_core.workflows.describe.describe`.

        Raises:
            FooocusError: The picture cannot be described, for a known cause.
        """
        with self._keeping():
            return describe(image, kind, self._resources)

    def generate_mask(self, image: Image, params: MaskParams) -> Image | Mask:
        """Make the mask of a picture.

        Args:
            image: uint8 (H, W, 3) RGB.

        Returns:
            uint8, white = selected: (H, W, 3) of SAM, (H, W) of the other networks.

        Raises:
            FooocusError: There is no mask for a known cause.
        """
        with self._keeping():
            mask = generate_mask(image, params, self._resources).mask
        return to_rgb(mask) if params.model is MaskModel.SAM else mask

    def rest(self) -> None:
        """Give the system back the main memory that nothing uses; call it when a run has ended."""
        give_freed_memory_back()

    def free_memory(self) -> None:
        """Let go of all models and of cached device memory."""
        self._resources.free()
