"""Control nets are loaded once, and again when their files or the base model change."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import pytest
from diffusers import ControlNetModel, UNet2DConditionModel

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.control_lora import CANNY_FILE, CPDS_FILE, load_control_net
from fooocus_core.loading.control_nets import ControlNets
from tests.networks import CPU_PLAN, load_small_sdxl


class Loader:
    """Loads control nets and remembers of which files."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.names: list[str] = []
        self._unet = unet

    def __call__(self, file: Path) -> ControlNetModel:
        self.names.append(file.name)
        return load_control_net(file, self._unet, CPU_PLAN)


@pytest.fixture(scope="module")
def unet(weights: Path) -> UNet2DConditionModel:
    return load_small_sdxl(weights).unet


@pytest.fixture
def canny(weights: Path) -> Path:
    return weights / "controlnet" / CANNY_FILE


@pytest.fixture
def cpds(weights: Path) -> Path:
    return weights / "controlnet" / CPDS_FILE


@pytest.fixture
def load(unet: UNet2DConditionModel) -> Loader:
    return Loader(unet)


@pytest.fixture
def released() -> list[ControlNetModel]:
    """The networks that were taken back before they were freed."""
    return []


@pytest.fixture
def nets(released: list[ControlNetModel]) -> ControlNets:
    return ControlNets(released.append)


def test_the_same_files_on_the_same_base_are_loaded_once(
    nets: ControlNets, load: Loader, canny: Path, cpds: Path
) -> None:
    first = nets.prepare([canny, cpds], "base", load)
    second = nets.prepare([cpds, canny], "base", load)
    assert first == second
    assert load.names == [CANNY_FILE, CPDS_FILE]


def test_one_file_for_two_pictures_is_one_network(
    nets: ControlNets, load: Loader, canny: Path
) -> None:
    assert list(nets.prepare([canny, canny], "base", load)) == [canny]
    assert load.names == [CANNY_FILE]


def test_what_is_not_asked_for_is_released_and_the_rest_stays(
    nets: ControlNets,
    load: Loader,
    released: list[ControlNetModel],
    canny: Path,
    cpds: Path,
) -> None:
    first = nets.prepare([canny, cpds], "base", load)
    assert nets.prepare([cpds], "base", load) == {cpds: first[cpds]}
    assert released == [first[canny]]
    assert load.names == [CANNY_FILE, CPDS_FILE]


def test_another_base_or_other_loras_make_new_networks(
    nets: ControlNets, load: Loader, released: list[ControlNetModel], canny: Path
) -> None:
    first = nets.prepare([canny], "base", load)[canny]
    second = nets.prepare([canny], "base with LoRA", load)[canny]
    assert second is not first
    assert released == [first]


def test_a_file_that_has_changed_is_loaded_again(
    nets: ControlNets, load: Loader, canny: Path, tmp_path: Path
) -> None:
    copy = tmp_path / CANNY_FILE
    copy.write_bytes(canny.read_bytes())
    nets.prepare([copy], "base", load)
    os.utime(copy, ns=(1, 1))
    nets.prepare([copy], "base", load)
    assert load.names == [CANNY_FILE, CANNY_FILE]


def test_a_file_that_fails_leaves_nothing_in_its_place(
    nets: ControlNets, load: Loader, canny: Path, tmp_path: Path
) -> None:
    broken = tmp_path / CPDS_FILE
    broken.write_bytes(b"cut off")
    for _ in range(2):
        with pytest.raises(ModelFileError, match=CPDS_FILE):
            nets.prepare([canny, broken], "base", load)
    assert load.names == [CANNY_FILE, CPDS_FILE, CPDS_FILE]


def test_a_missing_file_is_named(nets: ControlNets, load: Loader, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=CANNY_FILE):
        nets.prepare([tmp_path / CANNY_FILE], "base", load)


def test_freeing_forgets_everything(load: Loader, canny: Path) -> None:
    nets = ControlNets(lambda _: None)
    network = weakref.ref(nets.prepare([canny], "base", load)[canny])
    nets.free()
    assert network() is None
