"""Networks beside the base model are loaded once, and again when their files have changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fooocus_core.catalog import Catalog
from fooocus_core.config import load_config
from fooocus_core.downloads import INPAINT_HEAD, INTERPOSER, SDXL_PREVIEW, UPSCALER, ModelFile
from fooocus_core.errors import ModelFileError, ModelNotFoundError
from fooocus_core.params import Image
from fooocus_core.workflows.auxiliary import AuxiliaryNetworks
from tests.networks import CPU_PLAN

FILES = (UPSCALER, INPAINT_HEAD, INTERPOSER, SDXL_PREVIEW)


@pytest.fixture
def models(weights: Path, tmp_path: Path) -> Path:
    for file in FILES:
        path = file_in(tmp_path, file)
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(file_in(weights, file), path)
    return tmp_path


@pytest.fixture
def networks(models: Path) -> AuxiliaryNetworks:
    config = load_config(root=models, models_path=models, environ={})
    return AuxiliaryNetworks(CPU_PLAN, Catalog(config.folders))


def file_in(root: Path, file: ModelFile) -> Path:
    return root / file.kind / file.name


def touch(path: Path) -> None:
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


def test_a_network_stays_as_long_as_its_file_does(networks: AuxiliaryNetworks) -> None:
    assert networks.upscaler() is networks.upscaler()
    assert networks.interposer() is networks.interposer()
    assert networks.preview(SDXL_PREVIEW) is networks.preview(SDXL_PREVIEW)


def test_a_file_that_has_changed_is_read_again(networks: AuxiliaryNetworks, models: Path) -> None:
    before = networks.inpaint_head()
    touch(file_in(models, INPAINT_HEAD))
    assert networks.inpaint_head() is not before
    assert networks.inpaint_head() is networks.inpaint_head()


def test_a_damaged_file_can_be_replaced(
    networks: AuxiliaryNetworks, models: Path, weights: Path
) -> None:
    path = file_in(models, UPSCALER)
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ModelFileError, match=UPSCALER.name):
        networks.upscaler()
    shutil.copyfile(file_in(weights, UPSCALER), path)
    networks.upscaler()


def test_a_missing_file_is_named_with_the_folders_searched(
    networks: AuxiliaryNetworks, models: Path
) -> None:
    path = file_in(models, INTERPOSER)
    path.unlink()
    with pytest.raises(ModelNotFoundError, match=INTERPOSER.name) as caught:
        networks.interposer()
    assert str(path.parent) in str(caught.value)


def test_without_its_file_there_are_no_previews(networks: AuxiliaryNetworks, models: Path) -> None:
    file_in(models, SDXL_PREVIEW).unlink()
    assert networks.preview(SDXL_PREVIEW) is None


def test_what_a_replaced_network_made_is_forgotten(
    networks: AuxiliaryNetworks, models: Path
) -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    networks.upscaler()
    networks.control_pictures.get("key", lambda: picture)
    networks.inpaint_head()
    assert networks.control_pictures.get("key", unwanted) is picture
    touch(file_in(models, UPSCALER))
    networks.upscaler()
    with pytest.raises(AssertionError):
        networks.control_pictures.get("key", unwanted)


def test_freeing_forgets_networks_and_pictures(networks: AuxiliaryNetworks) -> None:
    before = networks.upscaler()
    networks.control_pictures.get("key", lambda: np.zeros((2, 2, 3), np.uint8))
    networks.free()
    assert networks.upscaler() is not before
    with pytest.raises(AssertionError):
        networks.control_pictures.get("key", unwanted)


def unwanted() -> Image:
    raise AssertionError("made already")
