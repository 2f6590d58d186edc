"""The store reloads only what changes, and lets go of what it held."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.checkpoint import CheckpointKind
from fooocus_core.loading.control_lora import CANNY_FILE
from fooocus_core.loading.memory import Streaming
from fooocus_core.loading.merged_loras import LoraFile
from fooocus_core.loading.store import ModelFiles, ModelStore
from fooocus_core.loading.warm import WarmModels
from tests.networks import CPU_PLAN

# Another device than "cpu" to the code, and the same memory to torch.
ELSEWHERE = torch.device("cpu", 0)
MOVING = replace(
    CPU_PLAN, device=ELSEWHERE, vae_device=ELSEWHERE, text_device=ELSEWHERE, stays=False
)

MIDDLE_WEIGHT = "mid_block.resnets.0.conv1.weight"


@pytest.fixture
def store() -> ModelStore:
    return ModelStore(CPU_PLAN)


@pytest.fixture
def files(weights: Path) -> dict[str, Path]:
    """The small checkpoints by their names without ``tiny_``."""
    names = ("sdxl", "sdxl_b", "refiner", "sd15")
    return {name: weights / "checkpoints" / f"tiny_{name}.safetensors" for name in names}


@pytest.fixture
def lora(weights: Path) -> LoraFile:
    """A LoRA for the UNet and both text encoders of SDXL."""
    return LoraFile(path=weights / "loras" / "tiny_lora.safetensors", weight=0.5)


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def is_changed(network: nn.Module, before: dict[str, Tensor]) -> bool:
    return any(not torch.equal(t, before[name]) for name, t in network.state_dict().items())


def test_the_same_files_are_loaded_once(store: ModelStore, files: dict[str, Path]) -> None:
    asked = ModelFiles(base=files["sdxl"], refiner=files["refiner"])
    first, second = store.prepare(asked), store.prepare(asked)
    assert first.base is second.base
    assert first.refiner is second.refiner


def test_another_file_or_vae_reloads(
    store: ModelStore, files: dict[str, Path], weights: Path
) -> None:
    first = store.prepare(ModelFiles(base=files["sdxl"]))
    vae = weights / "vae" / "tiny_vae_b.safetensors"
    with_vae = store.prepare(ModelFiles(base=files["sdxl"], vae=vae))
    assert with_vae.base is not first.base
    other = store.prepare(ModelFiles(base=files["sdxl_b"]))
    assert other.base.path == files["sdxl_b"]


def test_base_and_refiner_change_independently(store: ModelStore, files: dict[str, Path]) -> None:
    first = store.prepare(ModelFiles(base=files["sdxl"], refiner=files["refiner"]))
    second = store.prepare(ModelFiles(base=files["sdxl"], refiner=files["sd15"]))
    third = store.prepare(ModelFiles(base=files["sdxl_b"], refiner=files["sd15"]))
    assert second.base is first.base
    assert second.refiner is third.refiner
    assert third.refiner is not None
    assert third.refiner.kind is CheckpointKind.SD15


def test_a_refiner_not_asked_for_is_gone(files: dict[str, Path]) -> None:
    store = ModelStore(CPU_PLAN, warm=WarmModels(limit=0))
    loaded = store.prepare(ModelFiles(base=files["sdxl"], refiner=files["refiner"]))
    assert loaded.refiner is not None
    unet = weakref.ref(loaded.refiner.unet)
    del loaded
    assert store.prepare(ModelFiles(base=files["sdxl"])).refiner is None
    assert unet() is None


def test_what_was_loaded_is_gone_after_freeing(store: ModelStore, files: dict[str, Path]) -> None:
    unet = weakref.ref(store.prepare(ModelFiles(base=files["sdxl"])).base.unet)
    store.free()
    assert unet() is None


def test_a_model_that_fails_to_load_leaves_nothing_in_its_place(
    files: dict[str, Path], tmp_path: Path
) -> None:
    store = ModelStore(CPU_PLAN, warm=WarmModels(limit=0))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(files["sdxl"].read_bytes()[:1000])
    unet = weakref.ref(store.prepare(ModelFiles(base=files["sdxl"])).base.unet)
    with pytest.raises(ModelFileError, match="broken"):
        store.prepare(ModelFiles(base=broken))
    assert unet() is None
    assert store.prepare(ModelFiles(base=files["sdxl"])).base.path == files["sdxl"]


@pytest.mark.parametrize("name", ["refiner", "sd15"])
def test_base_models_of_other_kinds_are_refused(
    store: ModelStore, files: dict[str, Path], name: str
) -> None:
    with pytest.raises(ModelFileError, match="You have selected base model other than SDXL"):
        store.prepare(ModelFiles(base=files[name]))


def test_a_refiner_of_the_base_models_kind_gets_the_same_loras(
    store: ModelStore, files: dict[str, Path], lora: LoraFile
) -> None:
    loaded = store.prepare(ModelFiles(base=files["sdxl"], refiner=files["sdxl_b"]))
    assert loaded.refiner is not None
    before = state(loaded.base.unet), state(loaded.refiner.unet)
    assert store.merge([lora]) == ()
    assert is_changed(loaded.base.unet, before[0])
    assert is_changed(loaded.refiner.unet, before[1])
    store.merge([])
    assert not is_changed(loaded.base.unet, before[0])
    assert not is_changed(loaded.refiner.unet, before[1])


@pytest.mark.parametrize("name", ["refiner", "sd15"])
def test_a_refiner_of_another_kind_gets_no_lora_and_nobody_is_warned(
    store: ModelStore, files: dict[str, Path], lora: LoraFile, name: str
) -> None:
    loaded = store.prepare(ModelFiles(base=files["sdxl"], refiner=files[name]))
    assert loaded.refiner is not None
    before = state(loaded.refiner.unet)
    assert store.merge([lora]) == ()
    assert not is_changed(loaded.refiner.unet, before)


def test_a_refiner_loaded_later_gets_the_loras_of_the_base(
    store: ModelStore, files: dict[str, Path], lora: LoraFile
) -> None:
    plain = store.prepare(ModelFiles(base=files["sdxl"], refiner=files["sdxl_b"])).refiner
    assert plain is not None
    before = state(plain.unet)
    store.prepare(ModelFiles(base=files["sdxl"]))
    store.merge([lora])
    loaded = store.prepare(ModelFiles(base=files["sdxl"], refiner=files["sdxl_b"]))
    store.merge([lora])
    assert loaded.refiner is not None
    assert is_changed(loaded.refiner.unet, before)


def test_only_what_was_brought_last_is_on_the_device(files: dict[str, Path]) -> None:
    carried: list[Tensor] = []

    def carry(tensor: Tensor, device: torch.device) -> Tensor:
        assert device == ELSEWHERE
        carried.append(tensor.clone())
        return carried[-1]

    store = ModelStore(MOVING, carry)
    base = store.prepare(ModelFiles(base=files["sdxl"])).base
    assert base.clip_l is not None
    reader = torch.nn.Linear(2, 2)
    networks = (base.unet, base.vae, base.clip_l, reader)
    bringing = {
        base.clip_l: lambda: store.bring_text_encoders(base),
        reader: lambda: store.bring_image_reader(reader),
        base.unet: lambda: store.bring_unet(base.unet),
        base.vae: lambda: store.bring_vae(base.vae),
    }
    for brought, bring in bringing.items():
        bring()
        there = {tensor.data_ptr() for tensor in carried}
        for network in networks:
            is_there = {weight.data_ptr() in there for weight in network.parameters()}
            assert is_there == {network is brought}


def test_loras_are_merged_into_what_waits_and_not_into_a_copy(
    files: dict[str, Path], lora: LoraFile
) -> None:
    def carry(tensor: Tensor, device: torch.device) -> Tensor:
        return tensor.clone()

    store = ModelStore(MOVING, carry)
    unet = store.prepare(ModelFiles(base=files["sdxl"])).base.unet
    before = state(unet)
    store.bring_unet(unet)
    store.merge([lora])
    assert is_changed(unet, before)
    store.bring_unet(unet)
    assert is_changed(unet, before)
    store.merge([])
    assert not is_changed(unet, before)


def test_a_streamed_unet_is_not_brought_as_a_whole(files: dict[str, Path]) -> None:
    def refuse(tensor: Tensor, device: torch.device) -> Tensor:
        raise AssertionError("nothing is to be carried")

    store = ModelStore(replace(MOVING, streaming=Streaming.LAYERS), refuse)
    store.bring_unet(store.prepare(ModelFiles(base=files["sdxl"])).base.unet)


def test_a_vae_that_computes_on_the_cpu_stays_there(files: dict[str, Path]) -> None:
    def refuse(tensor: Tensor, device: torch.device) -> Tensor:
        raise AssertionError("nothing is to be carried")

    store = ModelStore(replace(MOVING, vae_device=torch.device("cpu")), refuse)
    store.bring_vae(store.prepare(ModelFiles(base=files["sdxl"])).base.vae)


def overwrite(path: Path, other: Path) -> None:
    """Put another file in a file's place, as a download or a copy does."""
    path.unlink(missing_ok=True)
    path.write_bytes(other.read_bytes())


def test_a_file_that_changed_is_loaded_again(
    store: ModelStore, files: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    overwrite(path, files["sdxl"])
    first = store.prepare(ModelFiles(base=path, refiner=path))
    before = state(first.base.unet)
    overwrite(path, files["sdxl_b"])
    second = store.prepare(ModelFiles(base=path, refiner=path))
    assert is_changed(second.base.unet, before)
    assert second.refiner is not None
    assert is_changed(second.refiner.unet, before)


def test_f16_a_missing_file_is_an_error_that_names_it(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no\.safetensors"):
        store.prepare(ModelFiles(base=tmp_path / "no.safetensors"))


@pytest.fixture
def canny(weights: Path) -> Path:
    """A control-LoRA for the base model."""
    return weights / "controlnet" / CANNY_FILE


def test_control_nets_stay_as_long_as_the_base_does(
    store: ModelStore, files: dict[str, Path], lora: LoraFile, canny: Path
) -> None:
    asked = ModelFiles(base=files["sdxl"])
    networks = []
    for loras in ([], [], [lora], [lora]):
        store.prepare(asked)
        store.merge(loras)
        networks.append(store.control_nets([canny])[canny])
    plain, again, with_lora, still_with_lora = networks
    assert again is plain
    assert with_lora is not plain
    assert still_with_lora is with_lora
    assert is_changed(with_lora, state(plain))


def test_control_nets_are_made_for_the_patched_base(
    store: ModelStore, files: dict[str, Path], canny: Path, weights: Path
) -> None:
    base = store.prepare(ModelFiles(base=files["sdxl"])).base
    store.merge([])
    before = state(base.unet)
    plain = state(store.control_nets([canny])[canny])
    store.merge([], weights / "inpaint" / "inpaint_v26.fooocus.patch")
    patched = store.control_nets([canny])[canny]
    assert is_changed(patched, plain)
    assert not is_changed(base.unet, before)
    with store.patched_base():
        difference = base.unet.mid_block.resnets[0].conv1.weight - before[MIDDLE_WEIGHT]
    assert difference.abs().max() > 0
    assert torch.allclose(patched.get_parameter(MIDDLE_WEIGHT) - plain[MIDDLE_WEIGHT], difference)


def test_control_nets_leave_with_their_base(
    store: ModelStore, files: dict[str, Path], canny: Path
) -> None:
    store.prepare(ModelFiles(base=files["sdxl"]))
    store.merge([])
    network = weakref.ref(store.control_nets([canny])[canny])
    store.prepare(ModelFiles(base=files["sdxl_b"]))
    assert network() is None


def test_control_nets_not_asked_for_are_freed(
    store: ModelStore, files: dict[str, Path], canny: Path
) -> None:
    store.prepare(ModelFiles(base=files["sdxl"]))
    network = weakref.ref(store.control_nets([canny])[canny])
    assert store.control_nets([]) == {}
    assert network() is None


def test_control_nets_come_to_the_device_with_their_unet(
    files: dict[str, Path], canny: Path
) -> None:
    carried: set[int] = set()

    def carry(tensor: Tensor, device: torch.device) -> Tensor:
        carried.add(tensor.data_ptr())
        return tensor.to(device)

    store = ModelStore(MOVING, carry)
    unet = store.prepare(ModelFiles(base=files["sdxl"])).base.unet
    network = store.control_nets([canny])[canny]
    weights = [tensor.data_ptr() for net in (unet, network) for tensor in net.parameters()]
    store.bring_unet(unet, network)
    assert carried == set(weights)
    store.free()
