"""What cannot be used fails its own run, saying which file and why, and changes no later one."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fooocus_core.choices import ControlKind
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.downloads import CANNY_CONTROL
from fooocus_core.engine import Engine, create_engine
from fooocus_core.errors import FooocusError, ModelFileError
from fooocus_core.events import CancelToken, Event, Warned
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    Image,
    ImagePrompt,
    Lora,
    ModelParams,
    PromptParams,
    SamplingParams,
    Size,
)

BASE, LORA, FOREIGN = "tiny_sdxl.safetensors", "tiny_lora.safetensors", "tiny_foreign.safetensors"
UNET_WEIGHT = "model.diffusion_model.middle_block.0.in_layers.2.weight"
VAE_WEIGHT = "first_stage_model.decoder.conv_in.weight"
TEXT_WEIGHT = "conditioner.embedders.1.model.transformer.resblocks.1.mlp.c_fc.weight"

Spoil = Callable[[Path, Path], None]
"""Makes a file that cannot be used out of a good one."""


class Code:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit",)


@pytest.fixture(scope="module")
def models(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    control = f"controlnet/{CANNY_CONTROL.name}"
    for name in (f"checkpoints/{BASE}", f"loras/{LORA}", f"loras/{FOREIGN}", control):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(weights / name)
    return root


@pytest.fixture(scope="module")
def engine(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    root = tmp_path_factory.mktemp("root")
    (root / "outputs").mkdir()
    return create_engine(load_config(root=root, models_path=models, environ={}), DeviceOptions())


@pytest.fixture(scope="module")
def good(engine: Engine) -> Image:
    """The picture of a run that nothing is wrong with."""
    return paint(engine, asked())


def asked(
    base: str = BASE, *, loras: tuple[str, ...] = (), prompt: str = "a cat"
) -> GenerationParams:
    return GenerationParams(
        models=ModelParams(base=base, loras=tuple(Lora(name=name, weight=1.0) for name in loras)),
        prompt=PromptParams(positive=prompt),
        canvas=CanvasParams(size=Size(64, 64), seed=5),
        sampling=SamplingParams(steps=2),
    )


def paint(engine: Engine, params: GenerationParams, events: list[Event] | None = None) -> Image:
    (made,) = engine.generate(params, [].append if events is None else events.append, CancelToken())
    return made.image


def truncate(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes()[:-1000])


def pickle_code(_source: Path, target: Path) -> None:
    target.write_bytes(pickle.dumps({"state_dict": Code()}))


def with_nan(name: str) -> Spoil:
    def spoil(source: Path, target: Path) -> None:
        tensors = load_file(source)
        tensors[name].view(-1)[3] = torch.nan
        save_file(tensors, target)

    return spoil


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        (".safetensors", truncate),
        (
            ".safetensors",
            lambda source, target: shutil.copy(source.parents[1] / "loras" / LORA, target),
        ),
        (".ckpt", pickle_code),
        (".safetensors", with_nan(UNET_WEIGHT)),
        (".safetensors", with_nan(VAE_WEIGHT)),
        (".safetensors", with_nan(TEXT_WEIGHT)),
    ],
    ids=["truncated", "foreign", "pickle", "unet-not-finite", "vae-not-finite", "text-not-finite"],
)
def test_f17_a_checkpoint_that_cannot_be_used_fails_its_run_only(
    engine: Engine, models: Path, good: Image, kind: str, spoil: Spoil
) -> None:
    bad = models / "checkpoints" / f"bad{kind}"
    spoil(models / "checkpoints" / BASE, bad)
    with pytest.raises(FooocusError, match=bad.name):
        paint(engine, asked(bad.name))
    bad.unlink()
    assert np.array_equal(paint(engine, asked()), good)


@pytest.mark.parametrize("spoil", [truncate, with_nan("zero_convs.0.0.weight")])
def test_a_control_net_that_cannot_be_used_fails_its_run_only(
    engine: Engine, models: Path, good: Image, spoil: Spoil
) -> None:
    file = models / "controlnet" / CANNY_CONTROL.name
    source = file.resolve()
    file.unlink()
    spoil(source, file)
    guide = ImagePrompt(image=good, kind=ControlKind.PYRA_CANNY, stop=0.5, weight=1.0)
    params = replace(asked(), image_prompts=(guide,))
    with pytest.raises(ModelFileError, match=file.name):
        paint(engine, params)
    file.unlink()
    file.symlink_to(source)
    assert not np.array_equal(paint(engine, params), good)
    assert np.array_equal(paint(engine, asked()), good)


def test_a_lora_with_values_that_are_not_finite_fails_its_run_only(
    engine: Engine, models: Path, good: Image
) -> None:
    bad = models / "loras" / "bad.safetensors"
    tensors = load_file(models / "loras" / LORA)
    next(iter(tensors.values())).view(-1)[0] = torch.inf
    save_file(tensors, bad)
    with pytest.raises(FooocusError, match=bad.name):
        paint(engine, asked(loras=(LORA, bad.name)))
    bad.unlink()
    assert np.array_equal(paint(engine, asked()), good)


def test_f18_a_lora_for_another_architecture_is_left_out_with_a_warning(
    engine: Engine, good: Image
) -> None:
    events: list[Event] = []
    assert np.array_equal(paint(engine, asked(loras=(FOREIGN,)), events), good)
    (warning,) = [event.text for event in events if isinstance(event, Warned)]
    assert FOREIGN in warning


@pytest.mark.parametrize(
    "prompt",
    ["(((((", ")))]", "[[a, b", "(a:1.", "(" * 2000 + "cat" + ")" * 1999, "cat " * 3000, "\\"],
    ids=["open", "closed", "array", "weight", "deep", "long", "backslash"],
)
def test_any_prompt_makes_a_picture_and_changes_none_after_it(
    engine: Engine, good: Image, prompt: str
) -> None:
    params = asked(prompt=prompt)
    assert paint(engine, params).shape == good.shape
    assert np.array_equal(paint(engine, replace(params, prompt=asked().prompt)), good)
