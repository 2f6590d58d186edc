"""How long do a sampling step and a whole picture take, and how much of it is the UNet's?

First with the embedded model, whose numbers say something about everything around the network, and
on a CPU about what somebody without a GPU waits for. Then with a model of random weights: the
synthetic one of the tests, widened until a UNet call takes a while, or SDXL's real size on a GPU.
Last, with the synthetic models, how much longer a step takes that pictures guide.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from benchmarks.made_models import (
    CHECKPOINT,
    write_guided_family,
    write_real_family,
    write_small_family,
)
from benchmarks.results import report
from fooocus_core.choices import ControlKind, Sampler
from fooocus_core.config import CoreConfig, DeviceOptions, MemoryMode, load_config
from fooocus_core.engine import Engine, create_engine
from fooocus_core.events import CancelToken, Event, Preview, Progress
from fooocus_core.loading.checkpoint import build_checkpoint
from fooocus_core.loading.memory import pick_device
from fooocus_core.loading.weight_file import read_weights
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    ImagePrompt,
    ModelParams,
    OutputParams,
    PromptParams,
    SamplingParams,
    Size,
)

SIZES = (Size(512, 512), Size(1152, 896))
SAMPLERS = (Sampler.DPMPP_2M_SDE_GPU, Sampler.EULER)
# What is not the UNet's grows with the picture and not with the network, so the synthetic model is
# widened at a small size, as SDXL is wide.
MADE_SIZES = (Size(256, 256), Size(512, 512))
GUIDES = (
    (ControlKind.PYRA_CANNY,),
    (ControlKind.IMAGE_PROMPT,),
    (ControlKind.PYRA_CANNY, ControlKind.CPDS, ControlKind.IMAGE_PROMPT, ControlKind.IMAGE_PROMPT),
)
TINY = "tiny.safetensors"
LONG_CALL_S = 0.3
WIDTHS = (32, 64, 96, 128, 192, 256, 320)


class UNetClock:
    """Adds up the time that UNets compute, measured where they compute.

    Attributes:
        calls: How many there were.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._is_cuda = torch.cuda.is_available()
        self._spans: list[tuple[Any, Any]] = []

    def __enter__(self) -> UNetClock:
        hooks = torch.nn.modules.module
        self._handles = [
            hooks.register_module_forward_pre_hook(self._begin),
            hooks.register_module_forward_hook(self._end),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    @property
    def seconds(self) -> float:
        """Sum over all calls."""
        if self._is_cuda:
            torch.cuda.synchronize()
            return sum(begin.elapsed_time(end) / 1000 for begin, end in self._spans)
        return sum(end - begin for begin, end in self._spans)

    def _begin(self, module: torch.nn.Module, _: object) -> None:
        if isinstance(module, UNet2DConditionModel):
            self.calls += 1
            self._spans.append((self._now(), None))

    def _end(self, module: torch.nn.Module, *_: object) -> None:
        if isinstance(module, UNet2DConditionModel):
            self._spans[-1] = (self._spans[-1][0], self._now())

    def _now(self) -> Any:
        if not self._is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def make_engine(config: CoreConfig, memory: MemoryMode) -> Engine:
    """An engine with its base model loaded."""
    config.folders.outputs.mkdir(parents=True, exist_ok=True)
    engine = create_engine(config, DeviceOptions(memory=memory))
    engine.load()
    return engine


def make_params(
    base: str, size: Size, sampler: Sampler, steps: int, *, previews: bool = True
) -> GenerationParams:
    """A picture with the default settings."""
    return GenerationParams(
        models=ModelParams(base=base),
        prompt=PromptParams(positive="a red circle on a blue background"),
        canvas=CanvasParams(size=size, seed=7),
        sampling=SamplingParams(sampler=sampler, steps=steps),
        output=OutputParams(previews=previews),
    )


def measure(
    engine: Engine, base: str, size: Size, sampler: Sampler, steps: int, **settings: Any
) -> None:
    """Print the time of a step and of the whole picture."""
    began = time.perf_counter()
    step = time_step(engine, make_params(base, size, sampler, steps))
    whole = time.perf_counter() - began
    settings |= {"size": f"{size.width}x{size.height}", "sampler": sampler.value, "steps": steps}
    report("step", step, "s", **settings)
    report("picture", whole, "s", **settings)


def time_step(engine: Engine, params: GenerationParams) -> float:
    """Make a picture; the mean seconds of a step but the first."""
    times: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, Progress) and event.sampling is not None:
            times.append(time.perf_counter())

    list(engine.generate(params, note, CancelToken()))
    return (times[-1] - times[0]) / (len(times) - 1)


def measure_shares(
    engine: Engine, base: str, size: Size, steps: int, *, previews: bool, **settings: Any
) -> None:
    """Print how many times as long as its UNet calls a whole job takes, and what else it does."""
    moments: list[tuple[float, Event]] = []

    def note(event: Event) -> None:
        moments.append((time.perf_counter(), event))

    params = make_params(base, size, SAMPLERS[0], steps, previews=previews)
    with UNetClock() as clock:
        began = time.perf_counter()
        list(engine.generate(params, note, CancelToken()))
        whole = time.perf_counter() - began
    encoding = _moment(moments, "Moving model") - _moment(moments, "Processing prompts")
    last = max(now for now, event in moments if _is_of_a_step(event))
    decoding = _moment(moments, "Saving image") - last
    settings |= {
        "size": f"{size.width}x{size.height}",
        "steps": steps,
        "previews": previews,
        "call_s": round(clock.seconds / clock.calls, 4),
        "encode_s": round(encoding, 3),
        "decode_s": round(decoding, 3),
    }
    report("job / UNet calls", whole / clock.seconds, "", **settings)
    rest = whole - encoding - decoding
    report("job less encode and decode / UNet calls", rest / clock.seconds, "", **settings)


def _moment(moments: list[tuple[float, Event]], beginning: str) -> float:
    return next(
        now
        for now, event in moments
        if isinstance(event, Progress) and event.text.startswith(beginning)
    )


def _is_of_a_step(event: Event) -> bool:
    is_step = isinstance(event, Progress) and event.sampling is not None
    return is_step or isinstance(event, Preview)


def widen_until_slow(root: Path, size: Size) -> int:
    """Write the narrowest synthetic model one of whose UNet calls takes long enough."""
    for width in WIDTHS:
        write_small_family(root, width)
        if _time_call(root, size) >= LONG_CALL_S:
            return width
    raise SystemExit(f"a UNet call takes less than {LONG_CALL_S} s at any width")


@torch.no_grad()
def _time_call(root: Path, size: Size) -> float:
    plan = pick_device(DeviceOptions())
    unet = build_checkpoint(read_weights(root / CHECKPOINT), plan).unet
    times = []
    for _ in range(2):
        began = time.perf_counter()
        unet(
            torch.zeros(2, 4, size.height // 8, size.width // 8),
            torch.tensor(500.0),
            encoder_hidden_states=torch.zeros(2, 77, unet.config.cross_attention_dim),
            added_cond_kwargs={"text_embeds": torch.zeros(2, 1280), "time_ids": torch.zeros(2, 6)},
        )
        times.append(time.perf_counter() - began)
    return min(times)


def load_made(root: Path, memory: MemoryMode) -> Engine:
    """The engine of a model of random weights."""
    path = root / CHECKPOINT
    environ = {"default_model": path.name}
    return make_engine(load_config(root=root, models_path=root, environ=environ), memory)


def measure_made(root: Path, steps: int, memory: MemoryMode) -> None:
    """Print the shares of a model of random weights, and on a GPU the times of its steps."""
    name = Path(CHECKPOINT).name
    if torch.cuda.is_available():
        sizes, settings = SIZES[-1:], {"model": "SDXL, random weights", "memory": memory.value}
        write_real_family(root)
    else:
        sizes, settings = MADE_SIZES, {"model": "synthetic"}
        settings["width"] = str(widen_until_slow(root, sizes[0]))
    engine = load_made(root, memory)
    # The first picture also hashes the model's file for its record.
    list(engine.generate(make_params(name, sizes[0], SAMPLERS[0], 2), ignore, CancelToken()))
    for size in sizes:
        if torch.cuda.is_available():
            for sampler in SAMPLERS:
                measure(engine, name, size, sampler, steps, **settings)
        for previews in (True, False):
            measure_shares(engine, name, size, steps, previews=previews, **settings)


def measure_guided(root: Path, steps: int, memory: MemoryMode) -> None:
    """Print how many times as long as another a step takes that pictures guide until the end."""
    base, size = write_guided_family(root), SIZES[0]
    engine = make_engine(
        load_config(root=root, models_path=root, environ={"default_model": base}), memory
    )
    params = make_params(base, size, SAMPLERS[0], steps, previews=False)
    list(engine.generate(params, ignore, CancelToken()))
    picture = np.random.default_rng(1).integers(0, 256, (size.height, size.width, 3), np.uint8)
    for kinds in GUIDES:
        guides = tuple(
            ImagePrompt(image=picture, kind=kind, stop=1.0, weight=1.0) for kind in kinds
        )
        # Anew each time, since how busy the machine is changes.
        plain = time_step(engine, params)
        guided = time_step(engine, replace(params, image_prompts=guides))
        settings = {"model": "synthetic", "size": f"{size.width}x{size.height}", "steps": steps}
        report("guided step / step", guided / plain, "", guides=", ".join(kinds), **settings)


def ignore(event: Event) -> None:
    """Take no notice of an event."""


def main() -> None:
    """Measure every combination with the embedded model, and the shares with a made one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument(
        "--memory",
        type=MemoryMode,
        choices=tuple(MemoryMode),
        default=MemoryMode.HIGH,
        help="memory mode of a GPU; by default nothing is moved while measuring",
    )
    arguments = parser.parse_args()
    steps, memory = arguments.steps, arguments.memory
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(root=Path(folder), preset="tiny", environ=os.environ)
        engine = make_engine(config, memory)
        for size in SIZES:
            for sampler in SAMPLERS:
                measure(engine, TINY, size, sampler, steps)
    with tempfile.TemporaryDirectory() as folder:
        measure_made(Path(folder), steps, memory)
    with tempfile.TemporaryDirectory() as folder:
        measure_guided(Path(folder), steps, memory)


if __name__ == "__main__":
    main()
