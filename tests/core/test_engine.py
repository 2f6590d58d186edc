"""The engine: runs that are to save memory, runs that are cut short, and what they freed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.engine import Engine, create_engine
from fooocus_core.errors import RunCancelled
from fooocus_core.events import CancelToken, Event, EventSink, Progress
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
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


# MiB that the process has more than at rest, told by events that have taken and freed some.
RUNS = """
import sys
from pathlib import Path

import numpy as np

from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.engine import create_engine
from fooocus_core.events import CancelToken
from fooocus_core.main_memory import share_one_heap
from fooocus_core.params import CanvasParams, GenerationParams, ModelParams, SamplingParams, Size

root = Path(sys.argv[1])
(root / "outputs").mkdir()
params = GenerationParams(
    models=ModelParams(base="tiny.safetensors"),
    canvas=CanvasParams(size=Size(64, 64), seed=4),
    sampling=SamplingParams(steps=2),
)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) // 256


def take_and_free(what):
    parts = [np.ones(2**20) for _ in range(20)]
    del parts
    print(what, resident() - before)


share_one_heap()
engine = create_engine(load_config(root=root, preset="tiny", environ={}), DeviceOptions())
list(engine.generate(params, lambda _: None, CancelToken()))
engine.rest()
before = resident()
list(engine.generate(params, lambda _: take_and_free("run"), CancelToken()))
engine.rest()
print("rested", resident() - before)
take_and_free("later")
saving = engine.generate(
    params, lambda _: take_and_free("saving"), CancelToken(), saves_memory=True
)
list(saving)
"""


def test_runs_keep_what_they_free_until_the_engine_rests(tmp_path: Path) -> None:
    environ = {name: os.environ[name] for name in os.environ if not name.startswith("MALLOC_")}
    told = subprocess.run(
        [sys.executable, "-c", RUNS, str(tmp_path)],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    amounts = dict(zip(told[::2], map(int, told[1::2]), strict=True))
    # No other C library is told to keep it.
    assert (amounts["run"] > 150) == (platform.libc_ver()[0] == "glibc")
    assert max(amounts[name] for name in ("rested", "later", "saving")) < 60


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
