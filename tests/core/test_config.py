"""The sources of configuration and what they decide."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fooocus_core.choices import InpaintEngine, Performance, Sampler, Scheduler
from fooocus_core.config import TINY_MODELS, CoreConfig, load_config, use_folders
from fooocus_core.errors import FooocusError
from fooocus_core.files import DATA_FOLDER
from fooocus_core.params import Lora, Size
from tests.malformed import Fault, json_faults

FILES = ["config.txt", "presets/default.json", "presets/anime.json"]
FAULTS = json_faults(
    '{\n"default_prompt": "a cat",\n"default_styles": ["SAI Anime"]\n}\n',
    ["[]", '["default_prompt"]', "null", "5", "true", '"default_prompt"'],
)


def write_json(path: Path, values: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")


def load(root: Path, config: dict[str, Any] | None = None, **options: Any) -> CoreConfig:
    if config is not None:
        write_json(root / "config.txt", config)
    return load_config(root=root, **{"environ": {}, **options})


def test_an_empty_root_gives_the_default_preset_and_our_folders(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.preset == "default"
    assert config.warnings == ()
    assert config.defaults.model == "juggernautXL_v8Rundiffusion.safetensors"
    assert config.defaults.guidance_scale == 4.0
    assert config.defaults.refiner_switch == 0.5
    assert config.defaults.loras == (
        Lora(name="sd_xl_offset_example-lora_1.0.safetensors", weight=0.1),
    )
    assert config.folders.checkpoints == (tmp_path / "models" / "checkpoints",)
    assert config.folders.expansion == (
        tmp_path / "models" / "prompt_expansion" / "fooocus_expansion",
    )
    assert config.folders.wildcards == (tmp_path / "wildcards", DATA_FOLDER / "wildcards")
    assert config.folders.outputs == tmp_path / "outputs"
    assert config.folders.temp == Path(tempfile.gettempdir(), "fooocus")
    assert config.folders.user_styles is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("preset", "environ", "scale", "source"),
    [
        (None, {}, 5.0, "config.txt"),
        ("anime", {}, 6.0, "preset anime"),
        ("default", {}, 4.0, "preset default"),
        ("anime", {"default_cfg_scale": "9"}, 9.0, "environment"),
    ],
)
def test_later_sources_win(
    preset: str | None, environ: dict[str, str], scale: float, source: str, tmp_path: Path
) -> None:
    config = load(tmp_path, {"default_cfg_scale": 5}, preset=preset, environ=environ)
    assert config.defaults.guidance_scale == scale
    assert config.sources["default_cfg_scale"] == source


def test_what_no_source_says_is_built_in(tmp_path: Path) -> None:
    write_json(tmp_path / "presets" / "default.json", {})
    defaults = load(tmp_path).defaults
    assert defaults.model == "model.safetensors"
    assert defaults.guidance_scale == 7.0
    assert defaults.refiner_switch == 0.8
    assert defaults.max_loras == 5
    assert defaults.sampler is Sampler.DPMPP_2M_SDE_GPU
    assert defaults.scheduler is Scheduler.KARRAS
    assert defaults.performance is Performance.SPEED
    assert defaults.size == Size(1152, 896)
    assert defaults.inpaint_engine is InpaintEngine.V2_6
    assert (defaults.steps, defaults.switch_step, defaults.upscale_strength) == (None, None, None)


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("default_model", "sub\\model.ckpt", "model", "sub/model.ckpt"),
        ("default_refiner", "", "refiner", None),
        ("default_refiner", "r.safetensors", "refiner", "r.safetensors"),
        ("default_vae", "Default (model)", "vae", None),
        ("default_vae", "v.safetensors", "vae", "v.safetensors"),
        ("default_styles", [], "styles", ()),
        ("default_prompt", None, "prompt", ""),
        ("default_prompt_negative", "bad", "negative_prompt", "bad"),
        ("default_performance", "Hyper-SD", "performance", Performance.HYPER_SD),
        ("default_aspect_ratio", "768×1344", "size", Size(768, 1344)),
        ("default_overwrite_step", 12, "steps", 12),
        ("default_overwrite_step", 0, "steps", None),
        ("default_overwrite_upscale", 0.25, "upscale_strength", 0.25),
        ("default_black_out_nsfw", True, "censor", True),
        ("metadata_created_by", "me", "created_by", "me"),
        ("metadata_created_by", "", "created_by", ""),
        ("default_max_lora_number", 7, "max_loras", 7),
        ("default_loras", [["a", 0.5]], "loras", (Lora(name="a", weight=0.5),)),
        ("default_loras", [[True, "a", 1]], "loras", (Lora(name="a", weight=1.0),)),
        ("default_loras", [[False, "a", 1], [True, "None", 1]], "loras", ()),
        ("default_loras", [["a", 0.5]], "max_loras", 1),
        ("default_loras", [], "max_loras", 5),
    ],
)
def test_values_of_a_config_file(
    key: str, value: Any, field: str, expected: Any, tmp_path: Path
) -> None:
    config = load(tmp_path, {key: value})
    assert getattr(config.defaults, field) == expected
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("default_model", None, "the name of a model file"),
        ("default_cfg_scale", "4", "a number from 1 to 30"),
        ("default_cfg_scale", True, "a number"),
        ("default_cfg_scale", float("nan"), "a number"),
        ("default_sample_sharpness", 31, "from 0 to 30"),
        ("default_clip_skip", 1.5, "a whole number from 1 to 12"),
        ("default_sampler", "nope", "one of euler, "),
        ("default_sampler", ["euler"], "one of euler, "),
        ("default_aspect_ratio", "32*32", "from 64 to 4096"),
        ("default_styles", "Fooocus V2", "a list of texts"),
        ("default_loras", [["a"]], "enabled, file name, weight"),
        ("default_loras", [[1, "a", 1.0]], "enabled, file name, weight"),
        ("default_loras", [["a", float("inf")]], "finite"),
        ("default_black_out_nsfw", 1, "true or false"),
        ("checkpoint_downloads", {"a": 1}, "file names and their addresses"),
        ("path_loras", [], "a folder"),
        ("path_outputs", "", "a folder"),
        ("path_vae", ["a", None], "a folder"),
    ],
)
def test_b64_a_value_that_is_not_allowed_leaves_a_warning_and_the_built_in_one(
    key: str, value: Any, allowed: str, tmp_path: Path
) -> None:
    config = load(tmp_path, {key: value})
    assert config.sources[key] == "built-in"
    (warning,) = config.warnings
    assert warning.startswith(f"{key} in {tmp_path / 'config.txt'}, line 1: ")
    assert allowed in warning


@pytest.mark.parametrize(
    ("text", "expected"),
    [("'quoted'", "quoted"), ("a cat", "a cat"), ("123", "123"), ("(" * 500, "(" * 500)],
)
def test_a_variable_is_a_literal_or_else_a_text(text: str, expected: str, tmp_path: Path) -> None:
    assert load(tmp_path, environ={"default_prompt": text}).defaults.prompt == expected


@pytest.mark.parametrize("text", ["True", "TRUE", "true"])
def test_a_variable_may_spell_true_in_any_case(text: str, tmp_path: Path) -> None:
    assert load(tmp_path, environ={"default_black_out_nsfw": text}).defaults.censor


@pytest.mark.parametrize("text", ["['a', '/b']", "('a', '/b')"])
def test_a_variable_may_name_several_folders(text: str, tmp_path: Path) -> None:
    folders = load(tmp_path, environ={"path_loras": text}).folders
    assert folders.loras == (tmp_path / "a", Path("/b"))


def test_a_folder_key_wins_over_the_models_root(tmp_path: Path) -> None:
    models = tmp_path / "weights"
    config = load(tmp_path, {"path_checkpoints": ["a", "/b"]}, models_path=models)
    assert config.folders.checkpoints == (tmp_path / "a", Path("/b"))
    assert config.folders.loras == (models / "loras",)
    assert config.sources["path_loras"] == "flag"


def test_the_tiny_preset_searches_its_own_folder_only(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        {"path_checkpoints": "a", "path_outputs": "out", "default_vae": "mine.safetensors"},
        preset="tiny",
        models_path=tmp_path,
        environ={"path_loras": "b"},
    )
    assert config.folders.checkpoints == (TINY_MODELS / "checkpoints",)
    assert config.folders.loras == (TINY_MODELS / "loras",)
    assert config.folders.outputs == tmp_path / "out"
    assert config.defaults.vae is None
    assert config.downloads.checkpoints == {}


def test_folders_of_the_command_line_win(tmp_path: Path) -> None:
    given = {"output_path": tmp_path / "o", "temp_path": tmp_path / "t"}
    styles = tmp_path / "s"
    environ = {"path_outputs": "x", "temp_path": "y", "path_styles": "z"}
    config = load(tmp_path, environ=environ, styles_path=styles, **given)
    folders = config.folders
    assert (folders.outputs, folders.temp) == (given["output_path"], given["temp_path"])
    assert folders.user_styles == styles
    assert config.sources["path_outputs"] == "flag"


def test_other_installations_are_searched_after_all_else(tmp_path: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    config = use_folders(load(tmp_path, environ={"path_loras": "['a', 'b']"}), other_roots=roots)
    others = tuple(root / "models" / "loras" for root in roots)
    assert config.folders.loras == (tmp_path / "a", tmp_path / "b", *others)
    assert config.values["path_loras"] == config.folders.loras
    assert config.folders.checkpoints[0] == tmp_path / "models" / "checkpoints"
    tiny = use_folders(load(tmp_path, preset="tiny"), other_roots=roots)
    assert tiny.folders.loras == (TINY_MODELS / "loras",)


def test_what_can_be_made_again_lies_beside_results_unless_told(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert use_folders(config).folders.cache == config.folders.outputs
    assert use_folders(config, cache=tmp_path / "c").folders.cache == tmp_path / "c"


def test_the_usual_folder_of_styles_is_used_if_it_exists(tmp_path: Path) -> None:
    (tmp_path / "sdxl_styles").mkdir()
    assert load(tmp_path).folders.user_styles == tmp_path / "sdxl_styles"


def test_an_unknown_preset_is_refused_naming_the_others(tmp_path: Path) -> None:
    write_json(tmp_path / "presets" / "mine.json", {})
    with pytest.raises(FooocusError, match=r"'\.\./x'.*anime, .*mine, .*tiny"):
        load(tmp_path, preset="../x")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("name", FILES)
def test_b66_a_malformed_file_is_left_out_with_one_warning_naming_file_and_line(
    name: str, fault: Fault, tmp_path: Path
) -> None:
    path = fault.write(tmp_path / name)
    config = load(tmp_path, preset="anime")
    (warning,) = config.warnings
    assert fault.place(path) in warning
    # Everything else counts as if the file were not there.
    path.unlink()
    assert config == replace(load(tmp_path, preset="anime"), warnings=(warning,))


def test_a_malformed_default_preset_that_is_chosen_too_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "default.json").write_text("{", encoding="utf-8")
    assert len(load(tmp_path, preset="default").warnings) == 1


@pytest.mark.parametrize("name", FILES)
def test_b66_a_value_of_a_wrong_type_is_left_out_with_its_file_and_line(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        '{\n"metadata_created_by": "me",\n"default_clip_skip":\n{"x": [1]},\n"x": null\n}',
        encoding="utf-8",
    )
    config = load(tmp_path, preset="anime")
    assert config.warnings == (
        f"default_clip_skip in {path}, line 3: it has to be a whole number from 1 to 12. "
        "The built-in value is used instead.",
    )
    assert (config.defaults.created_by, config.defaults.clip_skip) == ("me", 2)


def test_the_config_file_may_be_elsewhere(tmp_path: Path) -> None:
    write_json(tmp_path / "other.txt", {"default_prompt": "a cat"})
    assert load(tmp_path, environ={"config_path": "other.txt"}).defaults.prompt == "a cat"
    assert "none.txt" in load(tmp_path, environ={"config_path": "none.txt"}).warnings[0]


def test_keys_that_mean_nothing_here_are_passed_over(tmp_path: Path) -> None:
    assert load(tmp_path, {"default_image_number": 99, "own": []}).warnings == ()
