"""Which files belong to presets and features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fooocus_core.catalog import EXPANSION_FILES, Catalog, ModelKind
from fooocus_core.choices import DescribeKind, MaskModel
from fooocus_core.config import CoreConfig, FetchRules, load_config
from fooocus_core.downloads import (
    INTERPOSER,
    SD15_PREVIEW,
    SDXL_PREVIEW,
    ModelFile,
    published_files,
)
from fooocus_core.feature_files import (
    all_files,
    default_files,
    feature_files,
    preset_files,
)
from fooocus_core.fetching import find_offer
from fooocus_core.params import Lora

COMPANIONS = {SDXL_PREVIEW, SD15_PREVIEW, INTERPOSER}


def names(config: CoreConfig) -> set[str]:
    files = set(preset_files(config, Catalog(config.folders))) - COMPANIONS
    return {f"{file.kind}/{file.name}" for file in files}


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        (
            "default",
            {
                "checkpoints/juggernautXL_v8Rundiffusion.safetensors",
                "loras/sd_xl_offset_example-lora_1.0.safetensors",
            },
        ),
        (
            "lightning",
            {
                "checkpoints/juggernautXL_v8Rundiffusion.safetensors",
                "loras/sdxl_lightning_4step_lora.safetensors",
            },
        ),
        (
            "pony_v6",
            {"checkpoints/ponyDiffusionV6XL.safetensors", "vae/ponyDiffusionV6XL_vae.safetensors"},
        ),
        (
            "sai",
            {
                "checkpoints/sd_xl_base_1.0_0.9vae.safetensors",
                "checkpoints/sd_xl_refiner_1.0_0.9vae.safetensors",
                "loras/sd_xl_offset_example-lora_1.0.safetensors",
            },
        ),
        ("tiny", set()),
    ],
)
def test_the_files_of_a_preset_are_what_its_pictures_are_made_with(
    tmp_path: Path, preset: str, expected: set[str]
) -> None:
    assert names(load_config(root=tmp_path, preset=preset, environ={})) == expected


@pytest.mark.parametrize("preset", ["default", "anime", "realistic", "lcm", "playground_v2.5"])
def test_every_file_of_a_preset_can_be_had(tmp_path: Path, preset: str) -> None:
    config = load_config(root=tmp_path, preset=preset, environ={})
    files = preset_files(config, Catalog(config.folders))
    assert set(files) > COMPANIONS
    assert all(find_offer(file, config) is not None for file in files)


def test_a_previous_model_that_is_there_takes_the_place_of_the_default_one(
    tmp_path: Path,
) -> None:
    config = load_config(root=tmp_path, preset="default", environ={})
    folder = config.folders.checkpoints[0]
    folder.mkdir(parents=True)
    (folder / "old.safetensors").touch()
    config = replace(
        config, defaults=replace(config.defaults, previous_models=("old.safetensors",))
    )
    assert "checkpoints/juggernautXL_v8Rundiffusion.safetensors" not in names(config)
    wanted = replace(config, fetching=FetchRules(wants_default_model=True))
    assert "checkpoints/juggernautXL_v8Rundiffusion.safetensors" in names(wanted)


def test_what_config_and_presets_list_is_fetched_too(tmp_path: Path) -> None:
    config = load_config(root=tmp_path, environ={})
    lists = replace(config.downloads, embeddings={"a.pt": "https://a.example/a.pt"})
    defaults = replace(config.defaults, loras=(Lora(name="mine.safetensors", weight=1.0),))
    found = names(replace(config, downloads=lists, defaults=defaults))
    assert {"embeddings/a.pt", "loras/mine.safetensors"} <= found


def test_the_prompt_expansion_is_fetched_only_where_it_will_be_complete(tmp_path: Path) -> None:
    config = load_config(root=tmp_path, environ={})
    assert "expansion/pytorch_model.bin" not in names(config)
    folder = config.folders.expansion[0]
    folder.mkdir(parents=True)
    for name in EXPANSION_FILES[1:]:
        (folder / name).touch()
    assert "expansion/pytorch_model.bin" in names(config)


def test_all_files_are_the_published_ones_and_those_of_the_preset(tmp_path: Path) -> None:
    config = load_config(root=tmp_path, environ={})
    defaults = replace(config.defaults, vae="mine.safetensors")
    files = all_files(replace(config, defaults=defaults), Catalog(config.folders))
    mine = ModelFile(kind=ModelKind.VAE, name="mine.safetensors")
    assert set(files) == {*published_files(), mine}
    assert len(files) == len(set(files))


def test_default_files_are_those_that_no_picture_can_do_without(tmp_path: Path) -> None:
    config = load_config(root=tmp_path, preset="lcm", environ={})
    files = default_files(config, Catalog(config.folders))
    assert [file.name for file in files] == [
        "juggernautXL_v8Rundiffusion.safetensors",
        "sdxl_lcm_lora.safetensors",
    ]


def test_every_file_of_a_feature_is_published_but_those_of_the_prompt_expansion() -> None:
    features = feature_files()
    files = {file for name in features if name != "prompt expansion" for file in features[name]}
    assert files <= set(published_files())
    assert all(features.values())


def test_the_embedded_model_has_the_files_of_what_sees_and_of_what_adds_words(
    tmp_path: Path,
) -> None:
    catalog = Catalog(load_config(root=tmp_path, preset="tiny", environ={}).folders)
    whole = {
        feature
        for feature, files in feature_files().items()
        if all(catalog.match(file.kind, file.name) is not None for file in files)
    }
    salient = (MaskModel.U2NET, MaskModel.U2NETP, MaskModel.SILUETA, MaskModel.ISNET_GENERAL_USE)
    masks = {f"mask {model}" for model in salient}
    assert {"prompt expansion", f"describe {DescribeKind.PHOTO}", *masks} <= whole
