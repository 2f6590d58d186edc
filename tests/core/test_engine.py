"""The engine: a run that is to save memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.engine import create_engine
from fooocus_core.events import CancelToken
from fooocus_core.params import CanvasParams, GenerationParams, ModelParams, SamplingParams, Size


def test_f02_a_run_that_saves_memory_makes_the_same_picture(weights: Path, tmp_path: Path) -> None:
    config = load_config(root=tmp_path, models_path=weights, environ={})
    (tmp_path / "outputs").mkdir()
    engine = create_engine(config, DeviceOptions())
    params = GenerationParams(
        models=ModelParams(base="tiny_sdxl.safetensors"),
        canvas=CanvasParams(size=Size(64, 64), seed=4),
        sampling=SamplingParams(steps=1),
    )
    pictures = [
        made.image
        for saves_memory in (False, True, False)
        for made in engine.generate(
            params, lambda _: None, CancelToken(), saves_memory=saves_memory
        )
    ]
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)
