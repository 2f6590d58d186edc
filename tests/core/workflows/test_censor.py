"""Pictures that are not safe for work come out black, whatever they were made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fooocus_core.choices import InpaintEngine, UpscaleVaryMethod
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.downloads import SAFETY_CHECKER
from fooocus_core.engine import Engine, create_engine
from fooocus_core.errors import ModelFileError, ModelNotFoundError
from fooocus_core.events import CancelToken, GeneratedImage
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    InpaintParams,
    ModelParams,
    OutputParams,
    SamplingParams,
    Size,
    UpscaleVaryParams,
)
from fooocus_core.workflows.censor import censor
from tests.golden import load_picture
from tests.safety_files import write_checker
from tests.workflow_parts import Listener, make_resources

CHECKING = "Checking for NSFW content ..."
PICTURE = np.full((64, 64, 3), 90, np.uint8)
SHOWN_HOLE = InpaintParams(
    image=PICTURE, mask=np.full_like(PICTURE, 255), engine=InpaintEngine.NONE, show_mask=True
)
ENLARGED = UpscaleVaryParams(image=PICTURE, method=UpscaleVaryMethod.UPSCALE_FAST_2)


@pytest.fixture
def models(weights: Path, tmp_path: Path) -> Path:
    """The synthetic models, with room for a safety checker."""
    root = tmp_path / "models"
    root.mkdir()
    for folder in weights.iterdir():
        (root / folder.name).symlink_to(folder)
    return root


def checker_path(models: Path) -> Path:
    return models / "safety_checker" / SAFETY_CHECKER.name


def asked(
    *,
    upscale_vary: UpscaleVaryParams | None = None,
    inpaint: InpaintParams | None = None,
    censor: bool = True,
) -> GenerationParams:
    return GenerationParams(
        models=ModelParams(base="tiny_sdxl.safetensors"),
        canvas=CanvasParams(size=Size(64, 64), seed=4, count=2),
        sampling=SamplingParams(steps=1),
        upscale_vary=upscale_vary,
        inpaint=inpaint,
        output=OutputParams(censor=censor),
    )


def run(models: Path, params: GenerationParams) -> tuple[list[GeneratedImage], Listener]:
    """What an engine of its own makes."""
    (models.parent / "outputs").mkdir(exist_ok=True)
    config = load_config(root=models.parent, models_path=models, environ={})
    engine: Engine = create_engine(config, DeviceOptions())
    listener = Listener()
    return list(engine.generate(params, listener.events.append, CancelToken())), listener


@pytest.mark.parametrize(("threshold", "is_black"), [(-2.0, True), (2.0, False)])
def test_a_picture_is_replaced_only_if_it_is_unsafe(
    models: Path, threshold: float, is_black: bool
) -> None:
    write_checker(checker_path(models), threshold)
    image = load_picture("photo_b")
    before = image.copy()

    seen = censor(image, make_resources(models, models.parent))

    assert seen.shape == image.shape
    assert seen.dtype == np.uint8
    assert np.array_equal(seen, np.zeros_like(image) if is_black else before)
    assert np.array_equal(image, before)


def test_painted_pictures_are_checked_before_they_are_handed_over(models: Path) -> None:
    write_checker(checker_path(models), -2.0)

    made, listener = run(models, asked())

    assert [image.image.any() for image in made] == [False, False]
    assert [image.image.shape for image in made] == [(64, 64, 3)] * 2
    assert all(image.record is not None for image in made)
    places = [place for place, (_, text) in enumerate(listener.progress) if text == CHECKING]
    for number, place in enumerate(places, 1):
        percent, text = listener.progress[place + 1]
        assert text == f"Saving image {number}/2 to system ..."
        assert listener.progress[place][0] == percent
    assert len(places) == 2


def test_what_is_safe_is_the_picture_that_nobody_checked(models: Path) -> None:
    write_checker(checker_path(models), 2.0)

    checked, _ = run(models, asked())
    unchecked, listener = run(models, asked(censor=False))

    for one, other in zip(checked, unchecked, strict=True):
        assert one.image.any()
        assert np.array_equal(one.image, other.image)
    assert CHECKING not in [text for _, text in listener.progress]


@pytest.mark.parametrize(
    ("params", "count"),
    [(asked(inpaint=SHOWN_HOLE), 3), (asked(upscale_vary=ENLARGED), 1)],
    ids=["shown hole", "enlarged"],
)
def test_what_is_not_painted_is_checked_too(
    models: Path, params: GenerationParams, count: int
) -> None:
    write_checker(checker_path(models), -2.0)

    made, listener = run(models, params)

    assert [image.image.any() for image in made] == [False] * count
    assert listener.progress[-2:] == [(100, CHECKING), (100, "Saving image to system ...")]


def test_a_missing_checker_fails_before_anything_is_loaded(models: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=rf"{SAFETY_CHECKER.name}.*safety_checker"):
        run(models, asked())


def test_a_missing_checker_matters_to_nobody_who_does_not_ask(models: Path) -> None:
    made, _ = run(models, asked(upscale_vary=ENLARGED, censor=False))
    assert len(made) == 1


def test_a_broken_checker_lets_no_picture_out(models: Path) -> None:
    write_checker(checker_path(models), -2.0).write_bytes(b"broken")
    with pytest.raises(ModelFileError, match=SAFETY_CHECKER.name):
        run(models, asked(upscale_vary=ENLARGED))
