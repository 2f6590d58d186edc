"""How much memory does a picture take at its peak, and does that grow when it is made again?

With the synthetic model of the tests, whose own weights are next to nothing: what is measured is
what the pictures, latents and tiles of a workflow take. Needs Linux.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.made_models import CHECKPOINT, write_small_family
from benchmarks.results import report
from fooocus_core.choices import UpscaleVaryMethod
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.engine import Engine, create_engine
from fooocus_core.events import CancelToken, Event
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    Image,
    ModelParams,
    PromptParams,
    SamplingParams,
    Size,
    UpscaleVaryParams,
)

WIDTH = 32
STATUS = Path("/proc/self/status")
# Writing this number there sets the peak back to what is taken now.
PEAK_RESET = Path("/proc/self/clear_refs"), "5"


def make_jobs(steps: int) -> Mapping[str, GenerationParams]:
    """What is asked for, by the name it is reported under."""
    plain = GenerationParams(
        models=ModelParams(base=Path(CHECKPOINT).name),
        prompt=PromptParams(positive="a red circle on a blue background"),
        canvas=CanvasParams(size=Size(1024, 1024), seed=7),
        sampling=SamplingParams(steps=steps),
    )
    enlarging = {
        "upscale 2x, 1024x1024 to 2048x2048": (UpscaleVaryMethod.UPSCALE_2, 1024),
        "upscale fast 2x, 2048x2048 to 4096x4096": (UpscaleVaryMethod.UPSCALE_FAST_2, 2048),
    }
    return {"text to image, 1024x1024": plain} | {
        name: replace(
            plain, upscale_vary=UpscaleVaryParams(image=make_picture(side), method=method)
        )
        for name, (method, side) in enlarging.items()
    }


def make_picture(side: int) -> Image:
    """A square picture of random pixels."""
    return np.random.default_rng(3).integers(0, 256, (side, side, 3), dtype=np.uint8)


def measure(name: str, engine: Engine, params: GenerationParams, repeats: int) -> None:
    """Print the peak of each repetition, and by how much the last is above the second.

    The first is left out of the comparison: libraries set themselves up in it.
    """
    peaks = []
    for number in range(1, repeats + 1):
        reset_peaks()
        before = resident_mib("VmRSS")
        for _ in engine.generate(params, ignore, CancelToken()):
            pass
        peaks.append(resident_mib("VmHWM"))
        engine.rest()
        settings = {"job": name, "repetition": number, "before": round(before)}
        report("peak of host memory", peaks[-1], "MiB", **settings)
        if torch.cuda.is_available():
            report("peak of device memory", device_peak_mib(), "MiB", **settings)
    if repeats > 2:
        report("growth of the peak", peaks[-1] - peaks[1], "MiB", job=name, repeats=repeats)


def reset_peaks() -> None:
    """Let peaks be those from now on."""
    path, number = PEAK_RESET
    path.write_text(number)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def resident_mib(field: str) -> float:
    """Main memory that this process takes now (``VmRSS``) or took at most (``VmHWM``)."""
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def device_peak_mib() -> float:
    """Device memory that torch took at most."""
    return torch.cuda.max_memory_allocated() / 2**20


def ignore(event: Event) -> None:
    """Take no notice of an event."""


def main() -> None:
    """Measure every job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--job", default="", help="only jobs whose names begin like this")
    arguments = parser.parse_args()
    if not STATUS.exists():
        raise SystemExit(f"there is no {STATUS} to read the memory from")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_small_family(root, WIDTH)
        environ = {"default_model": Path(CHECKPOINT).name}
        config = load_config(root=root, models_path=root, environ=environ)
        config.folders.outputs.mkdir(parents=True, exist_ok=True)
        engine = create_engine(config, DeviceOptions())
        for name, params in make_jobs(arguments.steps).items():
            if name.startswith(arguments.job):
                measure(name, engine, params, arguments.repeats)


if __name__ == "__main__":
    main()
