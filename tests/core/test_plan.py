"""Decisions about a generation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fooocus_core.catalog import Catalog
from fooocus_core.choices import (
    ControlKind,
    EnhanceOrder,
    EnhancePrompt,
    InpaintEngine,
    MaskModel,
    Performance,
    Side,
    UpscaleVaryMethod,
)
from fooocus_core.config import load_config
from fooocus_core.downloads import (
    CANNY_CONTROL,
    IMAGE_ENCODER,
    IP_ADAPTER,
    IP_ADAPTER_FACE,
    IP_NEGATIVE,
    SAFETY_CHECKER,
    UPSCALER,
    ModelFile,
    inpaint_files,
    mask_files,
)
from fooocus_core.errors import InvalidInputError, RunCancelled
from fooocus_core.params import (
    CanvasParams,
    ControlParams,
    EnhanceParams,
    EnhanceRegion,
    Extension,
    GenerationParams,
    ImagePrompt,
    InpaintParams,
    Lora,
    MaskParams,
    ModelParams,
    OutputParams,
    PromptParams,
    SamplingParams,
    Size,
    UpscaleVaryParams,
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


def ask_to(
    method: UpscaleVaryMethod, *, shape: tuple[int, int] = (64, 80), **given: Any
) -> GenerationParams:
    """Vary or enlarge a grey picture."""
    asked = UpscaleVaryParams(image=np.full((*shape, 3), 90, np.uint8), method=method)
    return replace(ask(**given), upscale_vary=asked)


def ask_to_fill(*, level: int = 255, **changes: Any) -> GenerationParams:
    """Inpaint a grey picture with a square in its mask of that level."""
    mask = np.zeros((64, 64, 3), np.uint8)
    mask[20:40, 20:40] = level
    asked = InpaintParams(image=np.full((64, 64, 3), 90, np.uint8), mask=mask)
    return replace(ask(prompt="a lake"), inpaint=replace(asked, **changes))


@pytest.mark.parametrize(
    ("performance", "method", "steps", "switch_step"),
    [
        (Performance.QUALITY, UpscaleVaryMethod.UPSCALE_2, 36, 18),
        (Performance.SPEED, UpscaleVaryMethod.UPSCALE_15, 18, 9),
        (Performance.SPEED, UpscaleVaryMethod.UPSCALE_CUSTOM, 18, 9),
        (Performance.SPEED, UpscaleVaryMethod.VARY_STRONG, 30, 15),
        (Performance.SPEED, UpscaleVaryMethod.DISABLED, 30, 15),
        (Performance.LIGHTNING, UpscaleVaryMethod.UPSCALE_2, 4, 4),
    ],
)
def test_enlarging_has_step_counts_of_its_own(
    library: Library,
    performance: Performance,
    method: UpscaleVaryMethod,
    steps: int,
    switch_step: int,
) -> None:
    plan = make_plan(ask_to(method, performance=performance), library)
    assert (plan.steps, plan.switch_step) == (steps, switch_step)


def test_asked_steps_win_over_those_of_enlarging_but_not_for_the_switch(library: Library) -> None:
    plan = make_plan(ask_to(UpscaleVaryMethod.UPSCALE_2, steps=7), library)
    assert (plan.steps, plan.switch_step) == (7, 9)


def test_a_disabled_method_leaves_the_picture_out(library: Library) -> None:
    plan = make_plan(ask_to(UpscaleVaryMethod.DISABLED), library)
    assert plan.params.upscale_vary is None
    assert plan.working_size is None
    assert plan.warnings == ()


def test_a_fast_enlarging_needs_the_upscaler_and_neither_texts_nor_models(
    library: Library,
) -> None:
    asked = ask_to(UpscaleVaryMethod.UPSCALE_FAST_2, prompt="a __nothing__ cat")
    plan = make_plan(replace(asked, prompt=replace(asked.prompt, styles=("no style",))), library)
    assert plan.files == (UPSCALER,)
    assert plan.pictures == ()
    assert not plan.needs_models


@pytest.mark.parametrize(
    ("method", "files"),
    [
        (UpscaleVaryMethod.VARY_SUBTLE, (SAFETY_CHECKER,)),
        (UpscaleVaryMethod.UPSCALE_FAST_2, (UPSCALER, SAFETY_CHECKER)),
    ],
)
def test_checking_pictures_needs_the_safety_checker(
    library: Library, method: UpscaleVaryMethod, files: tuple[ModelFile, ...]
) -> None:
    asked = replace(ask_to(method), output=OutputParams(censor=True))
    assert make_plan(asked, library).files == files


def test_varying_needs_no_file(library: Library) -> None:
    assert make_plan(ask_to(UpscaleVaryMethod.VARY_SUBTLE), library).files == ()


def test_a_picture_that_is_too_thin_is_refused_before_anything_is_loaded(
    library: Library,
) -> None:
    with pytest.raises(InvalidInputError, match="too thin"):
        make_plan(ask_to(UpscaleVaryMethod.VARY_SUBTLE, shape=(1, 5000)), library)


@pytest.mark.parametrize("engine", [InpaintEngine.V1, InpaintEngine.V2_5, InpaintEngine.V2_6])
def test_an_inpaint_engine_brings_its_files_and_the_base_refines_itself(
    library: Library, engine: InpaintEngine
) -> None:
    plan = make_plan(ask_to_fill(engine=engine), library)
    assert plan.files == (UPSCALER, *inpaint_files(engine))
    assert plan.inpaint_patch == inpaint_files(engine)[1]
    assert plan.refines_itself
    assert (plan.params.models.refiner_switch, plan.switch_step) == (0.8, 24)


def test_a_fast_mode_has_no_refiner_but_the_base_itself(library: Library) -> None:
    asked = ask_to_fill()
    sampling = replace(asked.sampling, performance=Performance.LIGHTNING)
    models = replace(asked.models, refiner="b.safetensors", refiner_switch=0.5)
    plan = make_plan(replace(asked, sampling=sampling, models=models), library)
    assert plan.refines_itself
    assert plan.switch_step == 3


def test_without_an_engine_nothing_is_patched_and_nothing_refines(library: Library) -> None:
    plan = make_plan(ask_to_fill(engine=InpaintEngine.NONE), library)
    assert plan.files == (UPSCALER,)
    assert plan.inpaint_patch is None
    assert not plan.refines_itself
    assert plan.params.models.refiner_switch == 0.5


def test_a_refiner_that_was_asked_for_keeps_its_switch(library: Library) -> None:
    asked = ask_to_fill()
    models = replace(asked.models, refiner="b.safetensors", refiner_switch=0.6)
    plan = make_plan(replace(asked, models=models), library)
    assert not plan.refines_itself
    assert plan.switch_step == 18


@pytest.mark.parametrize(
    ("prompt", "full"), [("a lake", "reeds\na lake"), ("", "reeds")], ids=["two", "alone"]
)
def test_the_prompt_of_the_hole_goes_before_the_other(
    library: Library, prompt: str, full: str
) -> None:
    asked = ask_to_fill(prompt="reeds")
    plan = make_plan(replace(asked, prompt=PromptParams(positive=prompt)), library)
    assert plan.pictures[0].log_positive == full


@pytest.mark.parametrize("changes", [{"level": 127}, {"mask": None}], ids=["dark", "missing"])
def test_without_a_hole_it_is_text_to_image_with_a_warning(
    library: Library, changes: dict[str, Any]
) -> None:
    plan = make_plan(ask_to_fill(prompt="reeds", **changes), library)
    assert plan.params.inpaint is None
    assert (plan.files, plan.inpaint_patch, plan.refines_itself) == ((), None, False)
    assert plan.pictures[0].log_positive == "a lake"
    assert len(plan.warnings) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"level": 128},
        {"mask": None, "extend": (Extension(side=Side.LEFT),)},
        {"mask": None, "invert": True},
    ],
    ids=["bright", "extended", "inverted"],
)
def test_a_hole_is_what_is_bright_or_new(library: Library, changes: dict[str, Any]) -> None:
    plan = make_plan(ask_to_fill(**changes), library)
    assert plan.params.inpaint is not None
    assert plan.warnings == ()


def test_showing_the_mask_needs_no_texts_and_no_model(library: Library) -> None:
    plan = make_plan(ask_to_fill(show_mask=True), library)
    assert not plan.needs_models
    assert (plan.files, plan.pictures) == ((UPSCALER,), ())


def guided(
    asked: GenerationParams,
    *kinds: ControlKind,
    shape: tuple[int, int] = (48, 64),
    control: ControlParams | None = None,
    **numbers: float,
) -> GenerationParams:
    """The same with a guiding picture of each kind."""
    picture = np.zeros((*shape, 3), np.uint8)
    settings = {"stop": 0.5, "weight": 1.0, **numbers}
    prompts = tuple(ImagePrompt(image=picture, kind=kind, **settings) for kind in kinds)
    return replace(asked, image_prompts=prompts, control=control or ControlParams())


def test_the_kinds_of_image_prompts_decide_which_files_are_needed(library: Library) -> None:
    kinds = (ControlKind.IMAGE_PROMPT, ControlKind.PYRA_CANNY, ControlKind.FACE_SWAP)
    skipping = ControlParams(skip_preprocessing=True)
    asked = guided(ask_to_fill(), *kinds, kinds[0], control=skipping)
    assert make_plan(asked, library).files == (
        UPSCALER,
        *inpaint_files(InpaintEngine.V2_6),
        IMAGE_ENCODER,
        IP_ADAPTER,
        IP_NEGATIVE,
        CANNY_CONTROL,
        IP_ADAPTER_FACE,
    )


@pytest.mark.parametrize("kind", ControlKind)
@pytest.mark.parametrize("numbers", [{"weight": 0.0}, {"stop": 0.0}], ids=["weight", "stop"])
def test_an_image_prompt_that_steers_nothing_is_left_out(
    library: Library, kind: ControlKind, numbers: dict[str, float]
) -> None:
    plan = make_plan(guided(ask(), kind, **numbers), library)
    assert (plan.params.image_prompts, plan.files, plan.warnings) == ((), (), ())


@pytest.mark.parametrize(
    ("method", "shape"),
    [(UpscaleVaryMethod.UPSCALE_FAST_2, (64, 64)), (UpscaleVaryMethod.UPSCALE_2, (1408, 1408))],
    ids=["fast", "very large"],
)
def test_a_picture_that_is_only_enlarged_is_not_guided(
    library: Library, method: UpscaleVaryMethod, shape: tuple[int, int]
) -> None:
    control = ControlParams(show_preprocessing=True)
    asked = guided(ask_to(method, shape=shape), ControlKind.CPDS, control=control)
    plan = make_plan(asked, library)
    assert plan.params.image_prompts == ()
    assert plan.files == (UPSCALER,)
    assert [text for text in plan.warnings if "image prompts were left out" in text]


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        (ask(canvas=CanvasParams(size=Size(1001, 700))), Size(1001, 700)),
        (ask_to(UpscaleVaryMethod.VARY_SUBTLE, shape=(777, 1333)), Size(1328, 776)),
        (ask_to(UpscaleVaryMethod.UPSCALE_15, shape=(700, 1001)), Size(1496, 1048)),
        (ask_to_fill(), Size(1024, 1024)),
        (
            replace(
                ask_to(UpscaleVaryMethod.VARY_SUBTLE, shape=(720, 1280)),
                inpaint=ask_to_fill().inpaint,
            ),
            Size(1024, 1024),
        ),
    ],
    ids=["blank", "varied", "enlarged", "hole", "varied with a hole"],
)
def test_control_pictures_have_the_size_of_what_is_painted(
    library: Library, asked: GenerationParams, size: Size
) -> None:
    assert make_plan(asked, library).control_size == size


def test_a_picture_too_thin_for_a_control_net_is_refused_before_anything_is_loaded(
    library: Library,
) -> None:
    with pytest.raises(InvalidInputError, match="5000x1 pixels is too thin to be shown in"):
        make_plan(guided(ask(), ControlKind.CPDS, shape=(1, 5000)), library)
    make_plan(guided(ask(), ControlKind.IMAGE_PROMPT, shape=(1, 5000)), library)


def test_showing_what_is_prepared_needs_neither_texts_nor_the_files_of_painting(
    library: Library,
) -> None:
    control = ControlParams(show_preprocessing=True)
    kinds = ControlKind.CPDS, ControlKind.IMAGE_PROMPT
    plan = make_plan(guided(ask_to_fill(), *kinds, control=control), library)
    assert not plan.needs_models
    assert (plan.files, plan.pictures) == ((IMAGE_ENCODER,), ())


def test_without_a_guide_there_is_nothing_prepared_to_show(library: Library) -> None:
    plan = make_plan(replace(ask(), control=ControlParams(show_preprocessing=True)), library)
    assert plan.needs_models


def test_a_shown_mask_is_not_guided(library: Library) -> None:
    plan = make_plan(guided(ask_to_fill(show_mask=True), ControlKind.CPDS), library)
    assert (plan.params.image_prompts, plan.files, plan.needs_models) == ((), (UPSCALER,), False)


@pytest.mark.parametrize(("side", "files"), [(960, (UPSCALER,)), (1024, ())])
def test_only_small_holes_need_the_upscaler(
    library: Library, side: int, files: tuple[ModelFile, ...]
) -> None:
    picture = np.full((side, side, 3), 255, np.uint8)
    asked = ask_to_fill(engine=InpaintEngine.NONE, image=picture, mask=picture)
    assert make_plan(asked, library).files == files


@pytest.mark.parametrize(
    ("method", "shape", "count", "told"),
    [
        (UpscaleVaryMethod.UPSCALE_2, (1024, 1024), 2, []),
        (UpscaleVaryMethod.UPSCALE_2, (1472, 1472), 1, ["only enlarged"]),
        (UpscaleVaryMethod.UPSCALE_2, (1472, 1472), 3, ["only enlarged", "One picture"]),
        (UpscaleVaryMethod.UPSCALE_FAST_2, (64, 64), 1, []),
        (UpscaleVaryMethod.UPSCALE_FAST_2, (64, 64), 2, ["One picture"]),
    ],
)
def test_a_picture_that_is_only_enlarged_is_told_of(
    library: Library,
    method: UpscaleVaryMethod,
    shape: tuple[int, int],
    count: int,
    told: list[str],
) -> None:
    asked = ask_to(method, shape=shape)
    plan = make_plan(replace(asked, canvas=replace(asked.canvas, count=count)), library)
    assert len(plan.warnings) == len(told)
    assert all(start in text for start, text in zip(told, plan.warnings, strict=True))


VARY, FAST = UpscaleVaryMethod.VARY_SUBTLE, UpscaleVaryMethod.UPSCALE_FAST_2
DARK = np.zeros((64, 64, 3), np.uint8)
DOOR = EnhanceRegion(mask=MaskParams(), prompt="a door", negative_prompt=" \n")
SKY = EnhanceRegion(
    mask=MaskParams(model=MaskModel.U2NET), negative_prompt="rain", engine=InpaintEngine.NONE
)


def enhanced(enhance: EnhanceParams, **changes: Any) -> GenerationParams:
    asked = ask(canvas=CanvasParams(seed=5, count=3), prompt="a house")
    prompt = replace(asked.prompt, negative="fog")
    return replace(replace(asked, prompt=prompt, enhance=enhance), **changes)


@pytest.mark.parametrize("order", list(EnhanceOrder))
@pytest.mark.parametrize("source", list(EnhancePrompt))
def test_passes_have_their_order_texts_and_the_seed_of_the_request(
    library: Library, order: EnhanceOrder, source: EnhancePrompt
) -> None:
    enhance = EnhanceParams(method=VARY, order=order, prompt_source=source, regions=(DOOR, SKY))
    plan = make_plan(enhanced(enhance), library)
    assert [picture.seed for picture in plan.pictures] == [5, 6, 7]
    is_first = order is EnhanceOrder.BEFORE_FIRST
    filled = source is EnhancePrompt.LAST_FILLED and not is_first
    whole = (None, "a house", "rain" if filled else "fog")
    regions = [(DOOR, "a door", "fog"), (SKY, "a house", "rain")]
    pictures = [(one.region, *one.plan.pictures) for one in plan.passes]
    assert [(region, text.main, text.log_negative) for region, text in pictures] == (
        [whole, *regions] if is_first else [*regions, whole]
    )
    assert {text.seed for _, text in pictures} == {5}
    assert {one.plan.refines_itself for one in plan.passes} == {False}


@pytest.mark.parametrize(
    ("method", "asked_steps", "steps"),
    [
        (VARY, None, [30, 30]),
        (UpscaleVaryMethod.UPSCALE_2, None, [18, 30]),
        (UpscaleVaryMethod.UPSCALE_2, 7, [7, 7]),
        (FAST, 7, [0, 7]),
        (UpscaleVaryMethod.DISABLED, None, [30]),
    ],
)
def test_passes_have_the_steps_of_what_they_do(
    library: Library, method: UpscaleVaryMethod, asked_steps: int | None, steps: list[int]
) -> None:
    sampling = SamplingParams(steps=asked_steps)
    enhance = EnhanceParams(image=DARK, method=method, regions=(DOOR,))
    plan = make_plan(enhanced(enhance, sampling=sampling), library)
    assert [one.plan.steps for one in plan.passes] == steps
    assert {one.plan.switch_step for one in plan.passes} == {15}


def test_a_given_picture_is_enhanced_instead_of_others(library: Library) -> None:
    inpaint = InpaintParams(image=DARK, mask=np.full_like(DARK, 255))
    varied = UpscaleVaryParams(image=DARK, method=VARY)
    enhance = EnhanceParams(image=DARK, regions=(DOOR, SKY))
    plan = make_plan(enhanced(enhance, upscale_vary=varied, inpaint=inpaint), library)
    assert (plan.params.upscale_vary, plan.params.inpaint, plan.hole) == (None, None, None)
    assert (plan.pictures, plan.needs_models, plan.params.canvas.count) == ((), False, 1)
    head_and_patch = inpaint_files(InpaintEngine.V2_6)
    assert plan.files == (
        UPSCALER,
        *mask_files(DOOR.mask),
        *head_and_patch,
        *mask_files(SKY.mask),
    )
    assert [one.plan.inpaint_patch for one in plan.passes] == [head_and_patch[-1], None]


def test_an_enhancement_without_passes_is_none(library: Library) -> None:
    plan = make_plan(enhanced(EnhanceParams(image=DARK)), library)
    assert (plan.params.enhance, plan.passes, plan.warnings) == (None, (), ())
    assert (plan.needs_models, len(plan.pictures)) == (True, 3)


def test_a_picture_that_is_only_enlarged_is_not_enhanced(library: Library) -> None:
    enlarged = UpscaleVaryParams(image=DARK, method=FAST)
    plan = make_plan(enhanced(EnhanceParams(regions=(DOOR,)), upscale_vary=enlarged), library)
    assert (plan.params.enhance, plan.passes) == (None, ())
    assert [text for text in plan.warnings if "enhancement was left out" in text]


def test_what_the_texts_of_passes_lack_is_told_once(library: Library) -> None:
    prompt = PromptParams(positive="a house <lora:wood:1>")
    regions = (replace(DOOR, prompt="a door <lora:wood:1> <lora:iron:1>"), SKY)
    plan = make_plan(enhanced(EnhanceParams(regions=regions), prompt=prompt), library)
    assert plan.warnings == tuple(
        f"There is no LoRA file for the tag '{name}'." for name in ("wood", "iron")
    )


def test_a_region_has_the_loras_of_its_own_text(library: Library) -> None:
    regions = (replace(DOOR, prompt="a door <lora:ink:0.5>"), SKY)
    plan = make_plan(enhanced(EnhanceParams(regions=regions)), library)
    assert plan.loras == ()
    names = [[lora.name for lora in one.plan.loras] for one in plan.passes]
    assert names == [["ink.safetensors"], []]
