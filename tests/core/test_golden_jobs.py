"""Whole generations equal the recorded ones, through the engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.engine import Engine, create_engine
from fooocus_core.events import CancelToken, Event, GeneratedImage, Progress
from fooocus_core.images.hole import find_hole
from fooocus_core.images.masks import soft_mask
from fooocus_core.params import GenerationParams, Image, Size
from tests.golden import GOLDEN, load_json
from tests.golden_jobs import (
    IMAGE_PROMPT_JOBS,
    INPAINT_JOBS,
    TEXT_TO_IMAGE_JOBS,
    UPSCALE_VARY_JOBS,
    assert_same_picture,
    params_of_job,
)


@pytest.fixture(scope="module")
def engine(
    weights: Path, expansion_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Engine:
    root = tmp_path_factory.mktemp("root")
    config = load_config(
        root=root,
        models_path=weights,
        styles_path=GOLDEN / "data",
        environ={
            "path_wildcards": str(GOLDEN / "data"),
            "path_fooocus_expansion": str(expansion_folder),
        },
    )
    (root / "outputs").mkdir()
    return create_engine(config, DeviceOptions())


# The first work on about a million pixels each; the next tests/api makes in the default run; the
# last have many steps, or differ from one that stays in a number only.
SLOW = (
    *("vary_subtle", "upscale_15", "inpaint_v26", "outpaint_left_top", "mix_ip_inpaint"),
    *("t2i_plain", "t2i_styles_2img", "overwrites", "expansion"),
    *("upscale_fast", "pyracanny", "image_prompt"),
    *("t2i_default30", "refiner_joint_switch5", "perf_hyper_sd"),
)
JOBS = [
    pytest.param(job, marks=[pytest.mark.slow] if job in SLOW else [])
    for job in (*TEXT_TO_IMAGE_JOBS, *UPSCALE_VARY_JOBS, *INPAINT_JOBS, *IMAGE_PROMPT_JOBS)
]


@pytest.mark.parametrize("job", JOBS)
def test_the_engine_makes_the_recorded_pictures(engine: Engine, job: str) -> None:
    recorded = load_json(f"jobs/{job}/job")
    events: list[Event] = []
    params = params_of_job(recorded)
    images = list(engine.generate(params, events.append, CancelToken()))
    assert len(images) == len(recorded["images"])
    for index, (made, expected) in enumerate(zip(images, recorded["images"], strict=True)):
        if params.inpaint:
            assert_untouched_around_the_hole(made.image, params)
        assert_same_picture(made.image, GOLDEN / "jobs" / job / f"image_{index}.png")
        assert_same_record(made, expected, recorded["args"]["seed"])
    assert progress_of(events) == recorded["progress"]


def progress_of(events: list[Event]) -> list[list[object]]:
    """Percentages and texts."""
    return [[e.percent, e.text] for e in events if isinstance(e, Progress)]


def assert_same_record(made: GeneratedImage, expected: dict[str, Any], seed: int) -> None:
    """Assert that a picture tells what a recorded one does; ``seed`` is that of the request."""
    # A picture that is only enlarged belongs to no task.
    assert made.seed == expected["task"].get("task_seed", seed)
    assert made.record is not None
    assert made.record.text == expected["embedded"]
    assert [list(row) for row in made.record.rows] == expected["metadata"]


def assert_untouched_around_the_hole(made: Image, params: GenerationParams) -> None:
    """Assert that each pixel that the softened mask does not reach is that of the given picture."""
    assert params.inpaint is not None
    hole = find_hole(params.inpaint)
    assert hole is not None
    around = soft_mask(hole.mask) == 0
    assert around.any()
    assert np.array_equal(made[around], hole.image[around])


@pytest.mark.parametrize("size", [Size(8, 8), Size(8, 512), Size(320, 40)], ids=str)
def test_the_thinnest_latents_are_painted(engine: Engine, size: Size) -> None:
    params = params_of_job(load_json("jobs/t2i_plain/job"))
    params = replace(
        params,
        canvas=replace(params.canvas, size=size, forced_width=None, forced_height=None),
        sampling=replace(params.sampling, steps=3),
    )
    made = next(iter(engine.generate(params, [].append, CancelToken()))).image
    assert made.shape == (size.height, size.width, 3)


@pytest.mark.slow
def test_an_enhanced_picture_is_the_recorded_one(engine: Engine) -> None:
    """Compared in two halves: half a level of the first picture grows to some in the second."""
    recorded, folder = load_json("jobs/enhance_uov/job"), GOLDEN / "jobs" / "enhance_uov"
    params, seed = params_of_job(recorded), recorded["args"]["seed"]
    assert params.enhance is not None
    events: list[Event] = []
    first, second = engine.generate(params, events.append, CancelToken())
    assert progress_of(events) == recorded["progress"]
    assert_same_picture(first.image, folder / "image_0.png")

    with PillowImage.open(folder / "image_0.png") as file:
        given = replace(params.enhance, image=np.asarray(file.convert("RGB")))
    (enhanced,) = engine.generate(replace(params, enhance=given), [].append, CancelToken())
    assert_same_picture(enhanced.image, folder / "image_1.png")
    for made, expected in zip((first, second), recorded["images"], strict=True):
        assert_same_record(made, expected, seed)
    assert enhanced.record == second.record
    # Nothing but the first picture can have made a difference.
    assert np.abs(second.image.astype(np.int16) - enhanced.image).mean() < 0.2
