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

import torch
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
    build_refiner,
    detect_kind,
)
from fooocus_core.loading.control_lora import load_control_net
from fooocus_core.loading.control_nets import ControlNets
from fooocus_core.loading.leases import CarryTo, carry_to
from fooocus_core.loading.memory import DevicePlan, free_cached_memory, memory_errors
from fooocus_core.loading.merged_loras import LoraFile, MergedLoras
from fooocus_core.loading.patched_unet import PatchedUNet
from fooocus_core.loading.residents import Residents
from fooocus_core.loading.warm import WarmModels, networks_of
from fooocus_core.loading.weight_file import WeightFile, read_weights, weights_state

_log = logging.getLogger(__name__)

States = tuple[FileState | None, ...]
Loaded = TypeVar("Loaded", Checkpoint, Refiner)

_MAIN_MEMORY = torch.device("cpu")


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
    """Keeps the networks of one base model and one refiner until other files are asked for.

    Those of earlier files wait in main memory as far as there is room.
    """

    def __init__(
        self, plan: DevicePlan, carry: CarryTo = carry_to, warm: WarmModels | None = None
    ) -> None:
        """Start empty.

        Args:
            plan: Where networks run.
            carry: Copies weights to a device.
            warm: Keeps what is not in use; ``None`` = one with the usual limit.
        """
        self.plan = plan
        self._warm = WarmModels() if warm is None else warm
        self._residents = Residents(plan, carry)
        self._controls = ControlNets(self._residents.leave)
        self._refiner = _Slot(Refiner, plan, self._warm)
        self._base = _Slot(Checkpoint, plan, self._warm)

    def prepare(self, files: ModelFiles) -> Models:
        """Have the models of these files in memory, and no others.

        What is loaded stays for the next call with the same files, LoRAs included, unless they have
        changed. What is no longer asked for leaves the device *before* anything is loaded, so that
        it does not share that with what replaces it. A model that fails to load leaves nothing in
        its place.

        Raises:
            ModelFileError: A file cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        base, refiner = _states(files.base, files.vae), _states(files.refiner)
        self._residents.clear()
        self._refiner.put_away_unless(refiner)
        self._base.put_away_unless(base)
        if self._base.loaded is None:
            self._controls.free()
        try:
            # The refiner goes first, as in the reference.
            if files.refiner is not None:
                path = files.refiner
                self._refiner.fill(refiner, path.name, lambda: self._load_refiner(path))
            loaded = self._base.fill(base, files.base.name, lambda: self._load_base(files))
        finally:
            self._warm.make_room()
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
        self._warm.free()

    def _load_base(self, files: ModelFiles) -> Checkpoint:
        file = read_weights(files.base)
        if detect_kind(file) is not CheckpointKind.SDXL:
            raise ModelFileError(
                "You have selected base model other than SDXL. This is not supported yet."
            )
        self._warm.make_room(self._loaded_bytes(file))
        vae = read_weights(files.vae) if files.vae else None
        return build_checkpoint(file, self.plan, vae=vae)

    def _load_refiner(self, path: Path) -> Refiner:
        file = read_weights(path)
        self._warm.make_room(self._loaded_bytes(file))
        return build_refiner(file, self.plan)

    def _loaded_bytes(self, file: WeightFile) -> int:
        """What the weights of a file will about take: nearly all of them are the UNet's."""
        return sum(tensor.numel() for tensor in file.tensors.values()) * self.plan.unet.itemsize


class _Slot(Generic[Loaded]):
    """Room for one model, the LoRAs merged into it, and what can be put on top of them."""

    def __init__(self, kind: type[Loaded], plan: DevicePlan, warm: WarmModels) -> None:
        self.loaded: Loaded | None = None
        self.patched: PatchedUNet | None = None
        self._kind: type[Loaded] = kind
        self._plan = plan
        self._warm = warm
        self._loras: MergedLoras | None = None
        self._states: States = ()

    def fill(self, states: States, name: str, load: Callable[[], Loaded]) -> Loaded:
        """The model of these files; loads it if the room is empty and it is not kept warm."""
        if self.loaded is None:
            model = self._warm.take(self._kind, states)
            if model is None:
                _log.info("Loading %s", name)
                model = load()
            else:
                with memory_errors(f"bringing {name} back"):
                    _bring_home(model, self._plan)
            self.loaded = model
            self._loras = MergedLoras(model, self._plan)
            self.patched = PatchedUNet(model.unet, self._plan)
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

    def put_away_unless(self, states: States) -> None:
        """Have the model wait in main memory unless it is that of these files."""
        if states == self._states:
            return
        model, left = self.loaded, self._states
        self.free()
        if model is not None:
            for network in networks_of(model):
                network.to(_MAIN_MEMORY)
            self._warm.keep(left, model)
            free_cached_memory()

    def free(self) -> None:
        """Forget the model."""
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


def _bring_home(model: Checkpoint | Refiner, plan: DevicePlan) -> None:
    """Have the networks of a model where the plan has them wait."""
    for network in networks_of(model):
        if network is model.unet:
            home = plan.unet_home
        elif network is model.vae:
            home = plan.home_of(plan.vae_device)
        else:
            home = plan.home_of(plan.text_device)
        network.to(home)


def _states(*files: Path | None) -> States:
    return tuple(weights_state(file) if file else None for file in files)
