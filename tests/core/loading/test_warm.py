"""Models that are not in use wait in main memory, within limits."""

from __future__ import annotations

import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fooocus_core.loading import store as store_module
from fooocus_core.loading.checkpoint import Checkpoint, Refiner
from fooocus_core.loading.memory import DevicePlan
from fooocus_core.loading.merged_loras import LoraFile
from fooocus_core.loading.store import ModelFiles, ModelStore
from fooocus_core.loading.warm import SPARE_MEMORY, WarmModels, weight_bytes
from fooocus_core.loading.weight_file import read_weights
from tests.networks import CPU_PLAN, load_checkpoint

PLENTY = 100 * 2**30


def plenty() -> int:
    return PLENTY


@pytest.fixture
def sdxl(weights: Path) -> Path:
    return weights / "checkpoints" / "tiny_sdxl.safetensors"


@pytest.fixture
def other(weights: Path) -> Path:
    return weights / "checkpoints" / "tiny_sdxl_b.safetensors"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that the store has read, in order."""
    names: list[str] = []

    def read(path: Path) -> object:
        names.append(path.name)
        return read_weights(path)

    monkeypatch.setattr(store_module, "read_weights", read)
    return names


def make_store(limit: int | None = None, plan: DevicePlan = CPU_PLAN) -> ModelStore:
    return ModelStore(plan, warm=WarmModels(limit, plenty))


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def equal(network: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_switching_back_reads_no_file(sdxl: Path, other: Path, reads: list[str]) -> None:
    store = make_store()
    first = store.prepare(ModelFiles(base=sdxl, refiner=other))
    store.prepare(ModelFiles(base=other, refiner=sdxl))
    assert len(reads) == 4
    again = store.prepare(ModelFiles(base=sdxl, refiner=other))
    assert again.base is first.base
    assert again.refiner is first.refiner
    assert len(reads) == 4


def test_a_model_comes_back_without_the_loras_of_before(
    sdxl: Path, other: Path, weights: Path
) -> None:
    store = make_store()
    before = state(store.prepare(ModelFiles(base=sdxl)).base.unet)
    lora = LoraFile(path=weights / "loras" / "tiny_lora.safetensors", weight=0.5)
    store.merge([lora])
    store.prepare(ModelFiles(base=other))
    back = store.prepare(ModelFiles(base=sdxl)).base.unet
    assert equal(back, before)
    store.merge([lora])
    assert not equal(back, before)


def test_networks_that_stay_on_a_device_wait_in_main_memory(sdxl: Path, other: Path) -> None:
    elsewhere = torch.device("cpu", 0)  # another device to the code, the same memory to torch
    plan = replace(CPU_PLAN, device=elsewhere, vae_device=elsewhere, text_device=elsewhere)
    store = make_store(plan=plan)
    moves: list[torch.device] = []
    unet = store.prepare(ModelFiles(base=sdxl)).base.unet
    unet.to = moves.append  # type: ignore[assignment]
    store.prepare(ModelFiles(base=other))
    assert moves == [torch.device("cpu")]
    store.prepare(ModelFiles(base=sdxl))
    assert moves == [torch.device("cpu"), elsewhere]


def test_a_file_that_changed_is_read_again(
    sdxl: Path, other: Path, reads: list[str], tmp_path: Path
) -> None:
    path = Path(shutil.copy(sdxl, tmp_path / "model.safetensors"))
    store = make_store()
    before = state(store.prepare(ModelFiles(base=path)).base.unet)
    store.prepare(ModelFiles(base=other))
    path.unlink()
    shutil.copy(other, path)
    assert not equal(store.prepare(ModelFiles(base=path)).base.unet, before)
    assert reads == ["model.safetensors", other.name, "model.safetensors"]


def test_nothing_is_kept_with_a_limit_of_nothing(sdxl: Path, other: Path, reads: list[str]) -> None:
    store = make_store(limit=0)
    unet = weakref.ref(store.prepare(ModelFiles(base=sdxl)).base.unet)
    store.prepare(ModelFiles(base=other))
    assert unet() is None
    store.prepare(ModelFiles(base=sdxl))
    assert len(reads) == 3


def test_freeing_lets_go_of_what_is_warm(sdxl: Path, other: Path) -> None:
    store = make_store()
    unet = weakref.ref(store.prepare(ModelFiles(base=sdxl)).base.unet)
    store.prepare(ModelFiles(base=other))
    assert unet() is not None
    store.free()
    assert unet() is None


@pytest.mark.parametrize("rounds", [1, pytest.param(100, marks=pytest.mark.slow)])
def test_f30_of_six_checkpoints_in_turn_as_many_stay_as_the_limit_allows(
    sdxl: Path, tmp_path: Path, rounds: int
) -> None:
    paths = [tmp_path / f"{number}.safetensors" for number in range(6)]
    for path in paths:
        path.hardlink_to(sdxl)
    store = make_store(limit=2 * weight_bytes(load_checkpoint(sdxl, CPU_PLAN)))
    networks: list[weakref.ref[nn.Module]] = []
    for path in paths * rounds:
        networks.append(weakref.ref(store.prepare(ModelFiles(base=path)).base.unet))
        alive = [network for network in networks if network() is not None]
        # The one in use, and two that wait.
        assert len(alive) == min(len(networks), 3)


def test_the_model_not_used_for_longest_goes_first(
    sdxl: Path, reads: list[str], tmp_path: Path
) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for path in paths:
        path.hardlink_to(sdxl)
    size = weight_bytes(load_checkpoint(sdxl, CPU_PLAN))
    store = make_store(limit=size)
    for path in paths:
        store.prepare(ModelFiles(base=path))
    store.prepare(ModelFiles(base=paths[1]))
    assert len(reads) == 3
    store.prepare(ModelFiles(base=paths[0]))
    assert len(reads) == 4


@pytest.mark.parametrize(
    ("free", "kept"),
    [(SPARE_MEMORY + 1000, True), (SPARE_MEMORY + 999, False), (None, False)],
    ids=["enough", "too little", "nobody knows"],
)
def test_models_go_where_main_memory_is_short(sdxl: Path, free: int | None, *, kept: bool) -> None:
    warm = WarmModels(available=lambda: free)
    warm.keep("states", load_checkpoint(sdxl, CPU_PLAN))
    warm.make_room(1000)
    assert (warm.take(Checkpoint, "states") is not None) is kept


def test_a_base_model_is_no_refiner(sdxl: Path) -> None:
    warm = WarmModels(available=plenty)
    warm.keep("states", load_checkpoint(sdxl, CPU_PLAN))
    assert warm.take(Refiner, "states") is None
    assert warm.take(Checkpoint, "states") is not None
    assert warm.take(Checkpoint, "states") is None
