"""Pictures that are varied or enlarged, up to where the painting begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fooocus_core.choices import MetadataScheme, RefinerSwap, UpscaleVaryMethod
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.downloads import UPSCALER
from fooocus_core.engine import Engine, create_engine
from fooocus_core.errors import ModelNotFoundError, RunCancelled
from fooocus_core.events import CancelToken, Progress
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    ModelParams,
    OutputParams,
    Size,
    UpscaleVaryParams,
)
from fooocus_core.sampling.refiner import Model, Route
from fooocus_core.workflows.upscale_vary import vary_or_enlarge
from tests.workflow_parts import Listener, NumberingEncoder, make_resources, plan_for

ALONE = Route(first=Model.BASE, last=Model.BASE, swap=RefinerSwap.JOINT)
SIZE = Size(80, 64)
ENLARGED_FAST = UpscaleVaryMethod.UPSCALE_FAST_2


@pytest.fixture
def models(weights: Path, tmp_path: Path) -> Path:
    """A models root with nothing but the upscaler in it."""
    folder = tmp_path / "only_upscaler" / "upscale_models"
    folder.mkdir(parents=True)
    (folder / UPSCALER.name).symlink_to(weights / "upscale_models" / UPSCALER.name)
    return folder.parent


@pytest.fixture
def engine(models: Path, tmp_path: Path) -> Engine:
    config = load_config(root=tmp_path, models_path=models, environ={})
    return create_engine(config, DeviceOptions())


def asked(
    method: UpscaleVaryMethod,
    *,
    size: Size = SIZE,
    canvas: CanvasParams | None = None,
    metadata: MetadataScheme | None = MetadataScheme.FOOOCUS,
    **changes: Any,
) -> GenerationParams:
    picture = np.random.default_rng(1).integers(0, 256, (size.height, size.width, 3), np.uint8)
    return GenerationParams(
        models=ModelParams(base="none.safetensors"),
        canvas=canvas or CanvasParams(seed=5),
        upscale_vary=UpscaleVaryParams(image=picture, method=method, **changes),
        output=OutputParams(metadata=metadata),
    )


@pytest.mark.parametrize(
    ("method", "changes", "denoise"),
    [
        (UpscaleVaryMethod.VARY_SUBTLE, {}, 0.5),
        (UpscaleVaryMethod.VARY_STRONG, {}, 0.85),
        (UpscaleVaryMethod.VARY_STRONG, {"vary_strength": 0.3, "upscale_strength": 0.7}, 0.3),
    ],
)
def test_a_varied_picture_begins_at_the_strength_of_its_method(
    models: Path,
    tmp_path: Path,
    method: UpscaleVaryMethod,
    changes: dict[str, float],
    denoise: float,
) -> None:
    resources, listener = make_resources(models, tmp_path), Listener()
    encoder = NumberingEncoder(ALONE)
    plan = plan_for(asked(method, **changes), resources)
    start = vary_or_enlarge(plan, encoder, resources, listener.reporter)
    # 80x64 has the ratio of 1152x896, on the grid of 64.
    assert encoder.calls == [(Model.BASE, (1152, 896), True, False)]
    assert encoder.asked == [denoise]
    assert (start.denoise, start.is_tiled, start.finished) == (denoise, False, ())
    assert (start.size, start.recorded_size) == (Size(1152, 896), Size(1152, 896))
    assert listener.progress == [(0, "VAE encoding ...")]


def test_control_pictures_have_the_size_of_the_varied_one(models: Path, tmp_path: Path) -> None:
    resources, listener = make_resources(models, tmp_path), Listener()
    # Has the area of a working picture already, so it is not brought to the grid of 64.
    plan = plan_for(asked(UpscaleVaryMethod.VARY_SUBTLE, size=Size(1023, 1001)), resources)
    start = vary_or_enlarge(plan, NumberingEncoder(ALONE), resources, listener.reporter)
    assert plan.control_size == start.recorded_size == Size(1016, 1000)


@pytest.mark.parametrize(
    ("changes", "denoise"),
    [({}, 0.382), ({"vary_strength": 0.3, "upscale_strength": 0.7}, 0.7)],
)
def test_an_enlarged_picture_is_encoded_and_decoded_in_tiles(
    models: Path, tmp_path: Path, changes: dict[str, float], denoise: float
) -> None:
    resources, listener = make_resources(models, tmp_path), Listener()
    encoder = NumberingEncoder(ALONE)
    params = asked(UpscaleVaryMethod.UPSCALE_15, **changes)
    start = vary_or_enlarge(plan_for(params, resources), encoder, resources, listener.reporter)
    assert encoder.calls == [(Model.BASE, (1088, 896), True, True)]
    assert (start.denoise, start.is_tiled) == (denoise, True)
    assert listener.progress == [
        (1, "Upscaling image from (80, 64) ..."),
        (2, "VAE encoding ..."),
    ]


def test_forced_sides_do_not_change_the_size_of_a_given_picture(
    models: Path, tmp_path: Path
) -> None:
    resources = make_resources(models, tmp_path)
    canvas = CanvasParams(forced_width=512, forced_height=512)
    plan = plan_for(asked(UpscaleVaryMethod.VARY_SUBTLE, canvas=canvas), resources)
    start = vary_or_enlarge(plan, NumberingEncoder(ALONE), resources, Listener().reporter)
    assert start.size == Size(1152, 896)


def test_the_vae_of_the_model_that_begins_encodes(models: Path, tmp_path: Path) -> None:
    resources = make_resources(models, tmp_path)
    encoder = NumberingEncoder(
        Route(first=Model.REFINER, last=Model.REFINER, swap=RefinerSwap.JOINT)
    )
    plan = plan_for(asked(UpscaleVaryMethod.VARY_SUBTLE), resources)
    vary_or_enlarge(plan, encoder, resources, Listener().reporter)
    assert [model for model, *_ in encoder.calls] == [Model.REFINER]


def test_a_fast_enlarging_gives_one_picture_and_loads_no_model(engine: Engine) -> None:
    params = asked(ENLARGED_FAST, canvas=CanvasParams(seed=7, count=3))
    events: list[Any] = []
    (made,) = engine.generate(params, events.append, CancelToken())
    assert made.image.shape == (896, 1088, 3)
    assert made.seed == 7
    assert made.record is not None
    assert made.record.rows == (("Upscale (Fast)", "upscale_fast", "2x"),)
    assert made.record.text is None
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert (last.percent, last.text) == (100, "Saving image to system ...")


def test_a_fast_enlarging_has_no_record_if_none_is_asked_for(engine: Engine) -> None:
    (made,) = engine.generate(asked(ENLARGED_FAST, metadata=None), [].append, CancelToken())
    assert made.record is None


@pytest.mark.slow
def test_a_picture_that_becomes_too_large_is_not_painted_again(
    models: Path, tmp_path: Path
) -> None:
    resources, listener = make_resources(models, tmp_path), Listener()
    encoder = NumberingEncoder(ALONE)
    params = asked(UpscaleVaryMethod.UPSCALE_CUSTOM, size=Size(600, 600), factor=5.0)
    plan = plan_for(params, resources)
    assert plan.needs_models
    start = vary_or_enlarge(plan, encoder, resources, listener.reporter)
    (made,) = start.finished
    assert made.image.shape == (3000, 3000, 3)
    assert encoder.calls == []


def test_a_missing_upscaler_is_an_error_that_names_file_and_folder(
    models: Path, engine: Engine
) -> None:
    (models / "upscale_models" / UPSCALER.name).unlink()
    with pytest.raises(ModelNotFoundError, match=f"{UPSCALER.name}.*upscale_models"):
        list(engine.generate(asked(UpscaleVaryMethod.UPSCALE_2), [].append, CancelToken()))


def test_a_stop_while_enlarging_ends_the_run(engine: Engine) -> None:
    token = CancelToken()

    def stop(event: Any) -> None:
        if isinstance(event, Progress) and event.text.startswith("Upscaling"):
            token.cancel()

    with pytest.raises(RunCancelled):
        list(engine.generate(asked(ENLARGED_FAST), stop, token))


def test_the_picture_that_was_asked_about_is_left_as_it_is(engine: Engine) -> None:
    params = asked(ENLARGED_FAST)
    assert params.upscale_vary is not None
    before = params.upscale_vary.image.copy()
    list(engine.generate(params, [].append, CancelToken()))
    assert np.array_equal(params.upscale_vary.image, before)
