"""Passes over finished pictures: order, what is handed over, regions that are not found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fooocus_core.choices import EnhanceOrder, InpaintEngine, MaskModel, UpscaleVaryMethod
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.downloads import BERT_VOCABULARY, GROUNDING_DINO, SAFETY_CHECKER, sam_file
from fooocus_core.engine import Engine, create_engine
from fooocus_core.errors import ModelNotFoundError, RunCancelled
from fooocus_core.events import CancelToken, Event, GeneratedImage, Progress
from fooocus_core.images.masks import soft_mask
from fooocus_core.params import (
    CanvasParams,
    EnhanceParams,
    EnhanceRegion,
    GenerationParams,
    Image,
    MaskParams,
    ModelParams,
    OutputParams,
    PromptParams,
    SamplingParams,
    Size,
    UpscaleVaryParams,
)
from tests.foreground_files import write_saliency_network
from tests.published_weights import published_tensors, write_vocabulary
from tests.safety_files import write_checker
from tests.workflow_parts import Listener

FAST = UpscaleVaryMethod.UPSCALE_FAST_2
RED_PART = EnhanceRegion(mask=MaskParams(model=MaskModel.U2NETP), prompt="a door", strength=0.5)
DARK = np.zeros((32, 64, 3), np.uint8)
FACE = MaskParams(prompt="face", box_threshold=1.0)
# Looked for in a picture whose longer side is 1333, so a thin one is looked at soonest.
THIN = Size(512, 16)
NO_FACE = np.full((16, 512, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def models(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic models, with one that masks what is red and one that finds texts."""
    root = tmp_path_factory.mktemp("root") / "models"
    for folder in weights.iterdir():
        (root / folder.name).mkdir(parents=True)
        for file in folder.iterdir():
            (root / folder.name / file.name).symlink_to(file)
    write_saliency_network(root / "inpaint" / "u2netp.onnx", 320)
    finder = {f"module.{name}": t for name, t in published_tensors("grounding_dino").items()}
    torch.save({"model": finder}, root / "inpaint" / GROUNDING_DINO.name)
    (root / "clip_vision" / "bert-base-uncased").mkdir(parents=True, exist_ok=True)
    write_vocabulary(root / "clip_vision" / BERT_VOCABULARY.name)
    # Never read where nothing is found.
    (root / "sam").mkdir()
    (root / "sam" / sam_file(FACE.sam_model).name).touch()
    return root


@pytest.fixture(scope="module")
def engine(models: Path) -> Engine:
    (models.parent / "outputs").mkdir()
    config = load_config(root=models.parent, models_path=models, environ={})
    return create_engine(config, DeviceOptions())


def half_red() -> Image:
    picture = np.full((64, 128, 3), 20, np.uint8)
    picture[:, :32, 0] = 255
    return picture


def asked(enhance: EnhanceParams, **changes: Any) -> GenerationParams:
    usual = GenerationParams(
        models=ModelParams(base="tiny_sdxl.safetensors"),
        prompt=PromptParams(positive="a house", negative="fog"),
        canvas=CanvasParams(size=Size(64, 64), seed=4, count=2),
        sampling=SamplingParams(steps=1),
        enhance=enhance,
    )
    return replace(usual, **changes)


def run(engine: Engine, params: GenerationParams) -> tuple[list[GeneratedImage], Listener]:
    listener = Listener()
    return list(engine.generate(params, listener.events.append, CancelToken())), listener


def test_a_given_picture_is_only_enlarged_by_the_fast_method(engine: Engine) -> None:
    (made,), listener = run(engine, asked(EnhanceParams(image=half_red(), method=FAST)))
    enlarging = UpscaleVaryParams(image=half_red(), method=FAST)
    (expected,), _ = run(engine, replace(asked(EnhanceParams()), upscale_vary=enlarging))
    assert np.array_equal(made.image, expected.image)
    assert (made.seed, made.record) == (4, expected.record)
    assert listener.progress == [
        (1, "Loading control models ..."),
        (1, "Initializing ..."),
        (1, "Processing enhance ..."),
        (1, "Downloading upscale models ..."),
        (1, "Upscaling image from (128, 64) ..."),
        (1, "Saving image 1/1 to system ..."),
    ]


@pytest.mark.parametrize("final_only", [True, False])
def test_of_generated_pictures_the_last_ones_are_handed_over_or_all(
    engine: Engine, final_only: bool
) -> None:
    enhance = EnhanceParams(method=FAST, final_only=final_only)
    made, listener = run(engine, asked(enhance))
    sides = [image.image.shape[0] for image in made]
    assert sides == ([1024, 1024] if final_only else [64, 64, 1024, 1024])
    assert [image.seed for image in made[:-2]] == ([] if final_only else [4, 5])
    assert [text for _, text in listener.progress if text.startswith("Saving")] == [
        f"Saving image {number}/2 to system ..." for number in (1, 2, 1, 2)
    ]
    assert listener.progress[-1][0] == 100


@pytest.mark.parametrize(
    "region",
    [
        RED_PART,
        replace(RED_PART, invert=True, mask=FACE),
        replace(RED_PART, invert=True, mask=replace(FACE, show_boxes=True)),
    ],
    ids=["nothing stands out", "no box, inverted", "no box, boxes shown"],
)
@pytest.mark.parametrize("final_only", [True, False])
def test_a_picture_in_which_nothing_is_found_comes_back_as_it_is(
    engine: Engine, region: EnhanceRegion, final_only: bool
) -> None:
    given = DARK if region.mask is RED_PART.mask else NO_FACE
    enhance = EnhanceParams(image=given, regions=(region,), final_only=final_only)
    (made,), listener = run(engine, asked(enhance))
    assert np.array_equal(made.image, given)
    assert (made.seed, made.record) == (4, None)
    assert listener.warnings == ["Enhancement 1 was left out: nothing to paint was found."]
    assert listener.progress[-1] == (1, "Preparing enhancement 1/1 ...")


def test_generated_pictures_in_which_nothing_is_found_are_handed_over_once(engine: Engine) -> None:
    enhance = EnhanceParams(regions=(replace(RED_PART, mask=FACE),))
    canvas = CanvasParams(size=THIN, seed=4, count=2)
    last, _ = run(engine, asked(enhance, canvas=canvas))
    every, _ = run(engine, asked(replace(enhance, final_only=False), canvas=canvas))
    for pictures in (last, every):
        assert [image.seed for image in pictures] == [4, 5]
        assert all(image.record is not None for image in pictures)
    for one, other in zip(last, every, strict=True):
        assert np.array_equal(one.image, other.image)


@pytest.mark.slow
def test_a_region_is_painted_and_the_result_enlarged(engine: Engine) -> None:
    plain = replace(asked(EnhanceParams()), enhance=None)
    (before, _), _ = run(engine, plain)
    enhance = EnhanceParams(
        image=half_red(),
        regions=(RED_PART, replace(RED_PART, mask=FACE)),
        method=FAST,
        order=EnhanceOrder.AFTER_LAST,
        final_only=False,
        show_masks=True,
    )
    (mask, painted, none, enlarged), listener = run(engine, asked(enhance))

    assert mask.image.shape == painted.image.shape == (64, 128, 3)
    assert mask.image[:, :28].min() == 255
    assert mask.image[:, 40:].max() < 127
    assert not none.image.any()
    around = soft_mask(mask.image[..., 0]) == 0
    assert around.any()
    assert np.array_equal(painted.image[around], half_red()[around])
    assert not np.array_equal(painted.image, half_red())
    assert enlarged.image.shape[0] > 64
    assert painted.record is not None
    told = {key: value for _, key, value in painted.record.rows}
    assert (told["prompt"], told["negative_prompt"], told["refiner_switch"]) == (
        "a door",
        "fog",
        ModelParams(base="").refiner_switch,
    )
    texts = [text for _, text in listener.progress]
    assert texts[2:] == [
        "Processing enhance ...",
        "Preparing enhancement 1/2 ...",
        "Downloading inpainter ...",
        "Preparing enhance prompts ...",
        "Loading models ...",
        "Processing prompts ...",
        "Encoding positive #1 ...",
        "Encoding negative #1 ...",
        "VAE Inpaint encoding ...",
        "VAE encoding ...",
        "Sampling step 1/1, image 1/3 ...",
        "Saving image 1/3 to system ...",
        "Preparing enhancement 2/2 ...",
        "Downloading upscale models ...",
        "Upscaling image from (128, 64) ...",
        "Saving image 3/3 to system ...",
    ]
    # One step in two: the region that is not found has the other.
    assert [percent for percent, _ in listener.progress] == [1] * 12 + [50] * 6

    (after, _), _ = run(engine, plain)
    assert np.array_equal(after.image, before.image)


def test_a_stop_leaves_what_was_handed_over(engine: Engine) -> None:
    token, made = CancelToken(), []
    region = replace(RED_PART, engine=InpaintEngine.NONE)
    enhance = EnhanceParams(image=half_red(), regions=(region,), method=FAST, final_only=False)

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.text == "Preparing enhance prompts ...":
            token.cancel()

    with pytest.raises(RunCancelled):
        made.extend(engine.generate(asked(enhance), stop, token))
    assert len(made) == 1


def test_pictures_that_came_along_are_looked_at_even_if_they_stay_as_they_are(
    models: Path, tmp_path: Path
) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "models").mkdir()
    for folder in models.iterdir():
        (tmp_path / "models" / folder.name).symlink_to(folder)
    write_checker(tmp_path / "models" / "safety_checker" / SAFETY_CHECKER.name, -2.0)
    config = load_config(root=tmp_path, models_path=tmp_path / "models", environ={})
    enhance = EnhanceParams(image=NO_FACE, regions=(replace(RED_PART, mask=FACE),))
    params = asked(enhance, output=OutputParams(censor=True))
    (made,), _ = run(create_engine(config, DeviceOptions()), params)
    assert made.image.shape == NO_FACE.shape
    assert not made.image.any()


def test_a_missing_file_of_a_region_fails_before_anything_is_done(engine: Engine) -> None:
    mask = MaskParams(model=MaskModel.SILUETA)
    enhance = EnhanceParams(image=half_red(), regions=(RED_PART, replace(RED_PART, mask=mask)))
    listener = Listener()
    with pytest.raises(ModelNotFoundError, match="silueta"):
        list(engine.generate(asked(enhance), listener.events.append, CancelToken()))
    assert listener.progress[-1][1] == "Initializing ..."


@pytest.mark.slow
def test_a_skipped_region_is_left_out(engine: Engine) -> None:
    token = CancelToken()
    region = replace(RED_PART, engine=InpaintEngine.NONE)
    enhance = EnhanceParams(
        image=half_red(), regions=(region,), method=FAST, order=EnhanceOrder.AFTER_LAST
    )

    def skip(event: Event) -> None:
        if isinstance(event, Progress) and event.text == "VAE Inpaint encoding ...":
            token.skip()

    (made,) = engine.generate(asked(enhance), skip, token)
    (expected,), _ = run(engine, asked(EnhanceParams(image=half_red(), method=FAST)))
    assert np.array_equal(made.image, expected.image)


@pytest.mark.slow
def test_a_picture_skipped_before_its_regions_is_left_as_it_is(engine: Engine) -> None:
    token = CancelToken()
    enhance = EnhanceParams(
        image=half_red(), regions=(RED_PART,), method=UpscaleVaryMethod.VARY_SUBTLE
    )

    def skip(event: Event) -> None:
        if isinstance(event, Progress) and event.text == "VAE encoding ...":
            token.skip()

    (made,) = engine.generate(asked(enhance), skip, token)
    assert np.array_equal(made.image, half_red())
