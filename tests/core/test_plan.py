"""Decisions about a generation."""

from __future__ import annotations

from pathlib import Path

import pytest

from fooocus_core.catalog import Catalog
from fooocus_core.choices import Performance
from fooocus_core.config import load_config
from fooocus_core.errors import RunCancelled
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    Lora,
    ModelParams,
    PromptParams,
    SamplingParams,
    Size,
)
from fooocus_core.plan import Library, make_plan, picture_seeds
from fooocus_core.prompt.styles import load_styles
from fooocus_core.prompt.wildcards import Wildcards


@pytest.fixture
def library(tmp_path: Path) -> Library:
    loras = tmp_path / "models" / "loras"
    loras.mkdir(parents=True)
    (loras / "ink.safetensors").touch()
    (loras / "sdxl_lightning_4step_lora.safetensors").touch()
    folders = load_config(root=tmp_path, environ={}).folders
    return Library(
        styles=load_styles(None),
        wildcards=Wildcards(folders.wildcards),
        catalog=Catalog(folders),
        max_loras=5,
    )


def ask(
    *,
    performance: Performance = Performance.SPEED,
    prompt: str = "",
    canvas: CanvasParams | None = None,
    models: ModelParams | None = None,
    steps: int | None = None,
    switch_step: int | None = None,
) -> GenerationParams:
    return GenerationParams(
        models=models or ModelParams(base="base.safetensors"),
        prompt=PromptParams(positive=prompt),
        canvas=canvas or CanvasParams(),
        sampling=SamplingParams(performance=performance, steps=steps, switch_step=switch_step),
    )


def test_seeds_count_up_and_wrap_at_the_largest() -> None:
    canvas = CanvasParams(seed=2**63 - 1, count=3)
    assert picture_seeds(canvas) == [2**63 - 1, 0, 1]


def test_the_same_seed_can_be_kept_for_all_pictures() -> None:
    assert picture_seeds(CanvasParams(seed=7, count=2, same_seed=True)) == [7, 7]


@pytest.mark.parametrize(
    ("performance", "steps"), [(Performance.SPEED, 30), (Performance.QUALITY, 60)]
)
def test_steps_come_from_the_mode(library: Library, performance: Performance, steps: int) -> None:
    assert make_plan(ask(performance=performance), library).steps == steps


def test_asked_steps_win_but_the_switch_step_keeps_the_modes_count(library: Library) -> None:
    models = ModelParams(base="a.safetensors", refiner="b.safetensors", refiner_switch=0.5)
    plan = make_plan(ask(models=models, steps=50), library)
    assert (plan.steps, plan.switch_step) == (50, 15)


def test_the_switch_step_rounds_half_to_even(library: Library) -> None:
    models = ModelParams(base="a.safetensors", refiner="b.safetensors", refiner_switch=0.55)
    assert make_plan(ask(models=models), library).switch_step == 16


def test_an_asked_switch_step_wins(library: Library) -> None:
    assert make_plan(ask(switch_step=20), library).switch_step == 20


def test_forced_sides_win_over_the_size(library: Library) -> None:
    canvas = CanvasParams(size=Size(512, 640), forced_width=288)
    assert make_plan(ask(canvas=canvas), library).size == Size(288, 640)


def test_a_refiner_equal_to_the_base_is_none(library: Library) -> None:
    models = ModelParams(base="a.safetensors", refiner="a.safetensors")
    assert make_plan(ask(models=models), library).params.models.refiner is None


def test_loras_are_asked_ones_then_tags_then_the_modes_own(library: Library) -> None:
    asked = ask(
        performance=Performance.LIGHTNING,
        prompt="a cat <lora:ink:0.5> <lora:sdxl_lightning_4step_lora:0.2>",
        models=ModelParams(base="a.safetensors", loras=(Lora(name="x.safetensors", weight=1.0),)),
    )
    plan = make_plan(asked, library)
    assert plan.loras == (
        Lora(name="x.safetensors", weight=1.0),
        Lora(name="ink.safetensors", weight=0.5),
        Lora(name="sdxl_lightning_4step_lora.safetensors", weight=1.0),
    )


def test_what_was_asked_is_not_changed(library: Library) -> None:
    asked = ask(performance=Performance.LIGHTNING, prompt="a cat <lora:ink:0.5>")
    before = repr(asked)
    make_plan(asked, library)
    assert repr(asked) == before


def test_a_stop_is_seen_between_the_texts_of_pictures(library: Library) -> None:
    checks = iter([None, RunCancelled()])

    def check() -> None:
        if error := next(checks):
            raise error

    with pytest.raises(RunCancelled):
        make_plan(ask(canvas=CanvasParams(count=3)), library, check)
