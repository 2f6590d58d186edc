"""Which networks are in memory now, and what must be loaded for the next picture.

Owned by the engine and used by its one thread; knows nothing of prompts or requests.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from fooocus_core.errors import ModelFileError
from fooocus_core.files import FileState
from fooocus_core.loading.checkpoint import (
    Checkpoint,
    CheckpointKind,
    Refiner,
    build_checkpoint,
    detect_kind,
    load_refiner,
)
from fooocus_core.loading.control_lora import load_control_net
from fooocus_core.loading.control_nets import ControlNets
from fooocus_core.loading.leases import CarryTo, carry_to
from fooocus_core.loading.memory import DevicePlan, free_cached_memory
from fooocus_core.loading.merged_loras import LoraFile, MergedLoras
from fooocus_core.loading.patched_unet import PatchedUNet
from fooocus_core.loading.residents import Residents
from fooocus_core.loading.weight_file import read_weights, weights_state

_log = logging.getLogger(__name__)

States = tuple[FileState | None, ...]
Loaded = TypeVar("Loaded", Checkpoint, Refiner)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """The files of a picture's models.

    Attributes:
        vae: A stand-alone VAE for the base model; ``None`` = its own.
        refiner: ``None`` = no refiner.
    """

    base: Path
    vae: Path | None = None
    refiner: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The loaded models of a picture; the base is of the kind ``SDXL``."""

    base: Checkpoint
    refiner: Refiner | None


class ModelStore:
    """Keeps the networks of one base model and one refiner until other files are asked for."""

    def __init__(self, plan: DevicePlan, carry: CarryTo = carry_to) -> None:
        """Start empty; ``carry`` copies weights to a device."""
        self.plan = plan
        self._residents = Residents(plan, carry)
        self._controls = ControlNets(self._residents.leave)
        self._refiner: _Slot[Refiner] = _Slot(plan)
        self._base: _Slot[Checkpoint] = _Slot(plan)

    def prepare(self, files: ModelFiles) -> Models:
        """Have the models of these files in memory, and no others.

        What is loaded stays for the next call with the same files, LoRAs included, unless they have
        changed. What is no longer asked for is freed *before* anything is loaded, so that it does
        not share the device with what replaces it. A model that fails to load leaves nothing in its
        place.

        Raises:
            ModelFileError: A file cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        base, refiner = _states(files.base, files.vae), _states(files.refiner)
        self._residents.clear()
        self._refiner.free_unless(refiner)
        self._base.free_unless(base)
        if self._base.loaded is None:
            self._controls.free()
        # The refiner goes first, as in the reference.
        if files.refiner is not None:
            path = files.refiner
            self._refiner.fill(refiner, path.name, lambda: load_refiner(path, self.plan))
        loaded = self._base.fill(base, files.base.name, lambda: _load_base(files, self.plan))
        return Models(base=loaded, refiner=self._refiner.loaded)

    def merge(self, loras: Sequence[LoraFile], patch: Path | None = None) -> tuple[str, ...]:
        """Have exactly these LoRAs merged into what is loaded; see :meth:`MergedLoras.merge`.

        The refiner gets those of them that are for a model of its kind. That others are not is the
        rule, and no warning.

        Args:
            loras: In their order.
            patch: File that :meth:`patched_base` puts on top of them, into the base model's UNet.
        """
        self._residents.clear()
        for warning in self._refiner.merge(loras):
            _log.info("Refiner: %s", warning)
        return self._base.merge(loras, patch)

    @contextmanager
    def patched_base(self) -> Iterator[None]:
        """Have the patch of :meth:`merge` in the base model's UNet for the time of a block.

        The UNet has left the device when the block begins, and again when it has ended.
        """
        base, patched = self._base.loaded, self._base.patched
        # Only asked for once the models are there.
        assert base is not None
        assert patched is not None
        self._residents.leave(base.unet)
        with patched.attached():
            try:
                yield
            finally:
                self._residents.leave(base.unet)

    def control_nets(self, files: Sequence[Path]) -> Mapping[Path, ControlNetModel]:
        """Have the control nets of these files in memory, and no others.

        They are made for the base model with what :meth:`merge` put into it, the patch included,
        and stay for the next call with the same files, unless these or the base have changed. Not
        to be called inside :meth:`patched_base`.

        Returns:
            The networks by their files.

        Raises:
            ModelFileError: A file cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        base = self._base.loaded
        # Only asked for once the models are there.
        assert base is not None

        def load(file: Path) -> ControlNetModel:
            with self.patched_base():
                return load_control_net(file, base.unet, self.plan)

        return self._controls.prepare(files, self._base.weights, load)

    def bring_text_encoders(self, base: Checkpoint) -> None:
        """Have the text encoders of a base model where they compute; see :class:`Residents`.

        Raises:
            DeviceMemoryError: The device has not enough memory.
        """
        encoders = [encoder for encoder in (base.clip_l, base.clip_g) if encoder is not None]
        self._residents.bring(*encoders, device=self.plan.text_device)

    def bring_unet(self, unet: UNet2DConditionModel, *controls: ControlNetModel) -> None:
        """Have a UNet and its control nets where they compute.

        Those that are streamed only have all others leave.

        Raises:
            DeviceMemoryError: The device has not enough memory.
        """
        networks = () if self.plan.streaming else (unet, *controls)
        self._residents.bring(*networks, device=self.plan.device)

    def bring_image_reader(self, *networks: nn.Module) -> None:
        """Have networks that read pictures where they compute.

        Raises:
            DeviceMemoryError: The device has not enough memory.
        """
        self._residents.bring(*networks, device=self.plan.device)

    @contextmanager
    def at_work(self, network: nn.Module) -> Iterator[None]:
        """Have a network where it computes for the time of a block.

        Raises:
            DeviceMemoryError: The device has not enough memory.
        """
        self._residents.bring(network, device=self.plan.device)
        try:
            yield
        finally:
            self._residents.leave(network)

    def bring_vae(self, vae: AutoencoderKL) -> None:
        """Have a VAE where it computes.

        Raises:
            DeviceMemoryError: The device has not enough memory.
        """
        self._residents.bring(vae, device=self.plan.vae_device)

    def free(self) -> None:
        """Forget everything loaded and hand its memory back."""
        self._residents.clear()
        self._controls.free()
        self._refiner.free()
        self._base.free()


class _Slot(Generic[Loaded]):
    """Room for one model, the LoRAs merged into it, and what can be put on top of them."""

    def __init__(self, plan: DevicePlan) -> None:
        self.loaded: Loaded | None = None
        self.patched: PatchedUNet | None = None
        self._plan = plan
        self._loras: MergedLoras | None = None
        self._states: States = ()

    def fill(self, states: States, name: str, load: Callable[[], Loaded]) -> Loaded:
        """The model of these files; loads it if the room is empty."""
        if self.loaded is None:
            _log.info("Loading %s", name)
            self.loaded = load()
            self._loras = MergedLoras(self.loaded, self._plan)
            self.patched = PatchedUNet(self.loaded.unet, self._plan)
            self._states = states
        return self.loaded

    def merge(self, loras: Sequence[LoraFile], patch: Path | None = None) -> tuple[str, ...]:
        if self._loras is None or self.patched is None:
            return ()
        warnings = self._loras.merge(loras)
        return warnings + self.patched.prepare(patch, self._loras.state)

    @property
    def weights(self) -> Hashable:
        """Equal whenever the model, its LoRAs and its patch are the same."""
        loras = None if self._loras is None else self._loras.state
        return self._states, loras, None if self.patched is None else self.patched.state

    def free_unless(self, states: States) -> None:
        """Forget the model unless it is that of these files."""
        if states != self._states:
            self.free()

    def free(self) -> None:
        if self._loras is None:
            return
        self._loras.undo()
        self.loaded = None
        self.patched = None
        self._loras = None
        self._states = ()
        # Modules hold reference cycles; without collecting, their memory would stay a while.
        gc.collect()
        free_cached_memory()


def _states(*files: Path | None) -> States:
    return tuple(weights_state(file) if file else None for file in files)


def _load_base(files: ModelFiles, plan: DevicePlan) -> Checkpoint:
    file = read_weights(files.base)
    if detect_kind(file) is not CheckpointKind.SDXL:
        raise ModelFileError(
            "You have selected base model other than SDXL. This is not supported yet."
        )
    return build_checkpoint(file, plan, vae=read_weights(files.vae) if files.vae else None)
