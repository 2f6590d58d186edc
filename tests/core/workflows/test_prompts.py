"""The texts of pictures when the prompt expansion can or cannot run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fooocus_core.choices import EXPANSION_STYLE
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.engine import Engine, create_engine
from fooocus_core.events import CancelToken, Event, GeneratedImage, Progress, Warned
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    ModelParams,
    PromptParams,
    SamplingParams,
    Size,
)


def make_engine(root: Path, weights: Path, expansion: Path) -> Engine:
    environ = {"path_fooocus_expansion": str(expansion)}
    config = load_config(root=root, models_path=weights, environ=environ)
    (root / "outputs").mkdir()
    return create_engine(config, DeviceOptions())


def paint(engine: Engine, *styles: str) -> tuple[GeneratedImage, list[Event]]:
    events: list[Event] = []
    params = GenerationParams(
        prompt=PromptParams(positive="a house in the valley", styles=styles),
        models=ModelParams(base="tiny_sdxl.safetensors"),
        canvas=CanvasParams(size=Size(64, 64), seed=5),
        sampling=SamplingParams(steps=1),
    )
    (made,) = engine.generate(params, events.append, CancelToken())
    return made, events


@pytest.mark.parametrize("missing", ["vocab.json", "positive.txt", None])
def test_a_missing_expansion_is_told_and_changes_nothing_else(
    missing: str | None, weights: Path, expansion_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "expansion"
    if missing is not None:
        folder.mkdir()
        for path in expansion_folder.iterdir():
            if path.name != missing:
                (folder / path.name).symlink_to(path)
    engine = make_engine(tmp_path, weights, folder)
    made, events = paint(engine, EXPANSION_STYLE)
    without, others = paint(engine)
    (warning,) = [event for event in events if isinstance(event, Warned)]
    assert warning.text.startswith("Prompt expansion was left out: ")
    assert (missing or "pytorch_model.bin") in warning.text
    assert np.array_equal(made.image, without.image)
    assert made.record == without.record
    assert [event for event in events if isinstance(event, Progress)] == [
        event for event in others if isinstance(event, Progress)
    ]


def test_an_expansion_changes_texts_record_and_picture(
    weights: Path, expansion_folder: Path, tmp_path: Path
) -> None:
    engine = make_engine(tmp_path, weights, expansion_folder)
    made, events = paint(engine, EXPANSION_STYLE)
    without, _ = paint(engine)
    assert not any(isinstance(event, Warned) for event in events)
    assert made.record is not None
    assert made.record.positive[0] == "a house in the valley"
    assert made.record.positive[1].startswith("a house in the valley, ")
    assert not np.array_equal(made.image, without.image)
