"""Preset files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fooocus_core.config import load_config
from fooocus_core.config_values import MODEL_FOLDER_KEYS, VALUE_KEYS
from fooocus_core.errors import InvalidInputError
from fooocus_core.presets import PRESETS_FOLDER, find_presets, read_preset

OURS = find_presets([PRESETS_FOLDER])


def test_our_presets_are_those_of_the_reference_and_tiny() -> None:
    names = "anime default lcm lightning playground_v2.5 pony_v6 realistic sai tiny"
    assert list(OURS) == names.split()


@pytest.mark.parametrize("name", OURS)
def test_every_value_of_our_presets_is_used(name: str, tmp_path: Path) -> None:
    values = read_preset(OURS[name][0])
    assert set(values) <= {*VALUE_KEYS, *MODEL_FOLDER_KEYS}
    config = load_config(root=tmp_path, preset=name, environ={})
    assert config.warnings == ()
    assert {config.sources[key] for key in values} == {f"preset {name}"}


@pytest.mark.parametrize("name", OURS)
def test_every_model_of_our_presets_can_be_downloaded_or_is_built_in(
    name: str, tmp_path: Path
) -> None:
    config = load_config(root=tmp_path, preset=name, environ={})
    chosen = {config.defaults.model, config.defaults.refiner, config.defaults.vae}
    chosen |= {lora.name for lora in config.defaults.loras}
    known = {**config.downloads.checkpoints, **config.downloads.loras, **config.downloads.vae}
    assert chosen - {None} == ({"tiny.safetensors"} if name == "tiny" else set(known))


def test_the_users_file_of_a_name_comes_first(tmp_path: Path) -> None:
    mine = tmp_path / "default.json"
    mine.write_text("{}", encoding="utf-8")
    found = find_presets([tmp_path, PRESETS_FOLDER])
    assert found["default"] == [mine, PRESETS_FOLDER / "default.json"]


def test_a_preset_that_is_no_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"list\.json is not a JSON object"):
        read_preset(path)
