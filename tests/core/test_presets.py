"""Preset files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fooocus_core.catalog import Catalog
from fooocus_core.choices import ControlKind
from fooocus_core.config import load_config
from fooocus_core.config_values import MODEL_FOLDER_KEYS, VALUE_KEYS
from fooocus_core.downloads import FACE_FINDER, IP_ADAPTER_FACE, image_prompt_files
from fooocus_core.errors import InvalidInputError
from fooocus_core.params import ControlParams
from fooocus_core.presets import PRESETS_FOLDER, find_presets, read_preset

OURS = find_presets([PRESETS_FOLDER])
OFFSET = "sd_xl_offset_example-lora_1.0"
# The presets of the reference, each by what differs from the usual.
USUAL: dict[str, Any] = {
    "model": "juggernautXL_v8Rundiffusion",
    "vae": None,
    "refiner": None,
    "switch": 0.5,
    "loras": [],
    "cfg": 4.0,
    "ratio": "1152*896",
    "styles": ["V2", "Enhance", "Sharp"],
    "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras",
    "performance": "Speed",
    "inpaint": "v2.6",
}
TABLE: dict[str, dict[str, Any]] = {
    "default": {"loras": [(OFFSET, 0.1)]},
    "anime": {
        "model": "animaPencilXL_v500",
        "cfg": 6.0,
        "ratio": "896*1152",
        "styles": ["V2", "Semi Realistic", "Masterpiece"],
    },
    "realistic": {
        "model": "realisticStockPhoto_v20",
        "cfg": 3.0,
        "ratio": "896*1152",
        "styles": ["V2", "Photograph", "Negative"],
        "loras": [("SDXL_FILM_PHOTOGRAPHY_STYLE_V1", 0.25)],
    },
    "lcm": {"performance": "Extreme Speed"},
    "lightning": {"performance": "Lightning"},
    "playground_v2.5": {
        "model": "playground-v2.5-1024px-aesthetic.fp16",
        "cfg": 2.0,
        "ratio": "1024*1024",
        "styles": ["V2"],
        "sampler": "dpmpp_2m",
        "scheduler": "edm_playground_v2.5",
        "inpaint": "None",
    },
    "pony_v6": {
        "model": "ponyDiffusionV6XL",
        "vae": "ponyDiffusionV6XL_vae",
        "cfg": 7.0,
        "ratio": "896*1152",
        "styles": ["Pony"],
        "inpaint": "None",
    },
    "sai": {
        "model": "sd_xl_base_1.0_0.9vae",
        "refiner": "sd_xl_refiner_1.0_0.9vae",
        "switch": 0.75,
        "loras": [(OFFSET, 0.5)],
        "cfg": 7.0,
        "styles": ["V2", "Cinematic"],
    },
    "tiny": {"model": "tiny"},
}


def test_our_presets_are_those_of_the_reference_and_tiny() -> None:
    names = "anime default lcm lightning playground_v2.5 pony_v6 realistic sai tiny"
    assert list(OURS) == names.split()


@pytest.mark.parametrize("name", OURS)
def test_every_value_of_our_presets_is_used(name: str, tmp_path: Path) -> None:
    values = read_preset(OURS[name][0]).value
    assert set(values) <= {*VALUE_KEYS, *MODEL_FOLDER_KEYS}
    config = load_config(root=tmp_path, preset=name, environ={})
    assert config.warnings == ()
    assert {config.sources[key] for key in values} == {f"preset {name}"}


def test_the_table_names_every_preset() -> None:
    assert set(TABLE) == set(OURS)


@pytest.mark.parametrize("name", TABLE)
def test_presets_set_what_the_reference_sets(name: str, tmp_path: Path) -> None:
    # With the presets of this package only: what one does not set is built in.
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "default.json").write_text("{}", encoding="utf-8")
    (tmp_path / "presets" / f"{name}.json").write_bytes(OURS[name][0].read_bytes())
    row = {**USUAL, **TABLE[name]}
    defaults = load_config(root=tmp_path, preset=name, environ={}).defaults
    model, vae, refiner = (
        row[part] and f"{row[part]}.safetensors" for part in ("model", "vae", "refiner")
    )
    assert (defaults.model, defaults.vae, defaults.refiner) == (model, vae, refiner)
    assert defaults.refiner_switch == row["switch"]
    assert [(lora.name, lora.weight) for lora in defaults.loras] == [
        (f"{stem}.safetensors", weight) for stem, weight in row["loras"]
    ]
    assert defaults.max_loras == 5
    assert (defaults.guidance_scale, defaults.sharpness) == (row["cfg"], 2.0)
    assert f"{defaults.size.width}*{defaults.size.height}" == row["ratio"]
    assert defaults.styles == tuple(f"Fooocus {style}" for style in row["styles"])
    assert (defaults.sampler, defaults.scheduler) == (row["sampler"], row["scheduler"])
    assert defaults.performance == row["performance"]
    assert defaults.inpaint_engine == row["inpaint"]
    assert (defaults.negative_prompt != "") is (name == "realistic")


@pytest.mark.parametrize("name", OURS)
def test_every_model_of_our_presets_can_be_downloaded_or_is_built_in(
    name: str, tmp_path: Path
) -> None:
    config = load_config(root=tmp_path, preset=name, environ={})
    chosen = {config.defaults.model, config.defaults.refiner, config.defaults.vae}
    chosen |= {lora.name for lora in config.defaults.loras}
    known = {**config.downloads.checkpoints, **config.downloads.loras, **config.downloads.vae}
    assert chosen - {None} == ({"tiny.safetensors"} if name == "tiny" else set(known))


@pytest.mark.parametrize("kind", ControlKind)
def test_with_the_tiny_preset_only_swapping_faces_lacks_files(
    kind: ControlKind, tmp_path: Path
) -> None:
    catalog = Catalog(load_config(root=tmp_path, preset="tiny", environ={}).folders)

    needed = image_prompt_files(kind, ControlParams())

    missing = {file for file in needed if catalog.match(file.kind, file.name) is None}
    lacking = {IP_ADAPTER_FACE, FACE_FINDER} if kind is ControlKind.FACE_SWAP else set()
    assert missing == lacking


def test_the_users_file_of_a_name_comes_first(tmp_path: Path) -> None:
    mine = tmp_path / "default.json"
    mine.write_text("{}", encoding="utf-8")
    found = find_presets([tmp_path, PRESETS_FOLDER])
    assert found["default"] == [mine, PRESETS_FOLDER / "default.json"]


def test_b66_a_preset_that_is_no_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"list\.json, line 1: this is not a JSON object"):
        read_preset(path)
