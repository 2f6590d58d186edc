"""The engine: runs that are to save memory, runs that are cut short, and what they freed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fooocus_core import main_memory
from fooocus_core.choices import DescribeKind, MaskModel
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.engine import Engine, create_engine
from fooocus_core.errors import RunCancelled
from fooocus_core.events import CancelToken, Event, EventSink, Progress
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    MaskParams,
    ModelParams,
    SamplingParams,
    Size,
)


@pytest.fixture
def engine(weights: Path, tmp_path: Path) -> Engine:
    config = load_config(root=tmp_path, models_path=weights, environ={})
    (tmp_path / "outputs").mkdir()
    return create_engine(config, DeviceOptions())


PARAMS = GenerationParams(
    models=ModelParams(base="tiny_sdxl.safetensors"),
    canvas=CanvasParams(size=Size(64, 64), seed=4),
    sampling=SamplingParams(steps=2),
)


def test_f02_a_run_that_saves_memory_makes_the_same_picture(engine: Engine) -> None:
    pictures = [
        made.image
        for saves_memory in (False, True, False)
        for made in engine.generate(
            PARAMS, lambda _: None, CancelToken(), saves_memory=saves_memory
        )
    ]
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)


def test_f25_a_run_ends_in_whatever_phase_it_is_cancelled(engine: Engine) -> None:
    told: list[str] = []
    (whole,) = engine.generate(PARAMS, texts_to(told), CancelToken())
    assert any("step" in text for text in told)
    # The last phase is saving: the picture is there by then, and stays.
    for place in range(len(told) - 1):
        token = CancelToken()
        seen: list[str] = []
        with pytest.raises(RunCancelled):
            for _ in engine.generate(PARAMS, cancelling(token, seen, place), token):
                pass
        assert len(seen) == place + 1
    (again,) = engine.generate(PARAMS, lambda _: None, CancelToken())
    assert np.array_equal(again.image, whole.image)


@pytest.fixture
def given_back(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Has an entry for each time that freed memory is given back."""
    times: list[str] = []
    monkeypatch.setattr(main_memory, "give_freed_memory_back", lambda: times.append("given back"))
    return times


def test_a_run_gives_back_what_it_freed_however_it_ends(
    engine: Engine, given_back: list[str]
) -> None:
    list(engine.generate(PARAMS, lambda _: None, CancelToken()))
    given_back.clear()

    list(engine.generate(PARAMS, lambda _: None, CancelToken()))
    assert given_back == ["given back"]

    token = CancelToken()
    with pytest.raises(RunCancelled):
        list(engine.generate(PARAMS, cancelling(token, [], 3), token))
    assert given_back == ["given back"] * 2


def test_looking_at_pictures_gives_back_what_it_freed(
    tmp_path: Path, given_back: list[str]
) -> None:
    engine = create_engine(load_config(root=tmp_path, preset="tiny", environ={}), DeviceOptions())
    picture = np.zeros((64, 64, 3), np.uint8)

    engine.describe(picture, DescribeKind.PHOTO)
    assert given_back == ["given back"]

    engine.generate_mask(picture, MaskParams(model=MaskModel.U2NET))
    assert given_back == ["given back"] * 2


def texts_to(told: list[str]) -> EventSink:
    """Keeps the text of each progress."""

    def note(event: Event) -> None:
        if isinstance(event, Progress):
            told.append(event.text)

    return note


def cancelling(token: CancelToken, seen: list[str], place: int) -> EventSink:
    """The same, and cancels at the progress of that place."""
    note = texts_to(seen)

    def cancel(event: Event) -> None:
        note(event)
        if len(seen) > place:
            token.cancel()

    return cancel
