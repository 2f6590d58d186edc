"""How long do a sampling step and a whole picture take, by size and sampler?

Uses the embedded model, so the numbers say something about everything around the network, and on a
CPU about what somebody without a GPU waits for.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.results import report
from fooocus_core.choices import Sampler
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.engine import Engine, create_engine
from fooocus_core.events import CancelToken, Event, Progress
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    ModelParams,
    PromptParams,
    SamplingParams,
    Size,
)

SIZES = (Size(512, 512), Size(1152, 896))
SAMPLERS = (Sampler.DPMPP_2M_SDE_GPU, Sampler.EULER)


def make_engine(root: Path) -> Engine:
    """The engine of the embedded model."""
    config = load_config(root=root, preset="tiny", environ=os.environ)
    config.folders.outputs.mkdir(parents=True, exist_ok=True)
    engine = create_engine(config, DeviceOptions())
    engine.load()
    return engine


def measure(engine: Engine, size: Size, sampler: Sampler, steps: int) -> None:
    """Print the time of a step and of the whole picture."""
    times: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, Progress) and event.sampling is not None:
            times.append(time.perf_counter())

    params = GenerationParams(
        models=ModelParams(base="tiny.safetensors"),
        prompt=PromptParams(positive="a red circle on a blue background"),
        canvas=CanvasParams(size=size, seed=7),
        sampling=SamplingParams(sampler=sampler, steps=steps),
    )
    began = time.perf_counter()
    list(engine.generate(params, note, CancelToken()))
    whole = time.perf_counter() - began
    settings = {"size": f"{size.width}x{size.height}", "sampler": sampler.value, "steps": steps}
    report("step", (times[-1] - times[0]) / (len(times) - 1), "s", **settings)
    report("picture", whole, "s", **settings)


def main() -> None:
    """Measure every combination."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(Path(folder))
        for size in SIZES:
            for sampler in SAMPLERS:
                measure(engine, size, sampler, steps)


if __name__ == "__main__":
    main()
