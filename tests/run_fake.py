"""Serves with the fake engine, for trying clients without any model: ``make run-fake``.

In the environment may stand, for tests of what goes wrong:

- ``FAKE_HOLD``: every picture stops at its first step until it is cancelled;
- ``FAKE_PASSES``: so many steps pass in spite of that;
- ``FAKE_PACE``: so many seconds pass after each step;
- ``FAKE_FILE_LIMIT``: no file can become larger than so many bytes;
- ``FAKE_DESCRIPTORS``: no more files and connections can be open;
- ``FAKE_KILL_AT``: the process is killed as a function is entered or left ("return Storage.save").

A run with the prompt ``deadly`` ends the process, as a driver may; with ``device`` the device
fails; with ``odd`` it fails itself; with ``noise`` it makes pictures whose files are large.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from types import FrameType

import numpy as np
from numpy.typing import NDArray

from fooocus_core.errors import DeviceFailedError
from fooocus_core.events import CancelToken, EventSink, GeneratedImage
from fooocus_core.params import GenerationParams
from fooocusapi.cli import run
from fooocusapi.flag_values import read_flags
from tests.fakes import FakeEngine, Script

PACE_S = 0.05


class PromptedEngine(FakeEngine):
    """An engine to which one can say what is to go wrong."""

    def generate(
        self,
        params: GenerationParams,
        on_event: EventSink,
        cancel: CancelToken,
        *,
        saves_memory: bool = False,
    ) -> Generator[GeneratedImage]:
        # Kept for tests that look at it, and nobody does here, however long the server runs.
        self.asked.clear()
        self.saved_memory.clear()
        if params.prompt.positive == "deadly":
            # Not before whoever asked has an answer.
            time.sleep(0.3)
            os._exit(3)
        if params.prompt.positive == "device":
            time.sleep(0.3)
            raise DeviceFailedError("The device has failed: assert.")
        if params.prompt.positive == "odd":
            raise ValueError("odd")
        made_images = super().generate(params, on_event, cancel, saves_memory=saves_memory)
        for made in made_images:
            is_plain = params.prompt.positive != "noise"
            yield made if is_plain else replace(made, image=_noise(made.image.shape))


def _noise(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def make_engine(*_: object) -> FakeEngine:
    """The engine that the environment asks for."""
    usual = Script(gated="FAKE_HOLD" in os.environ)
    pace_s = float(os.environ.get("FAKE_PACE", PACE_S))
    engine = PromptedEngine(pace=lambda: time.sleep(pace_s), usual=usual)
    engine.gate.open(int(os.environ.get("FAKE_PASSES", "0")))
    return engine


def kill_at(point: str) -> None:
    """End the process without a word at this point, on whatever thread it comes."""

    def look(frame: FrameType, event: str, _: object) -> None:
        if f"{event} {frame.f_code.co_qualname}" == point:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(look)
    threading.setprofile(look)


def serve(arguments: Sequence[str]) -> None:
    """Serve until told to end, by these arguments and the environment."""
    if "FAKE_FILE_LIMIT" in os.environ:
        most = int(os.environ["FAKE_FILE_LIMIT"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    if "FAKE_DESCRIPTORS" in os.environ:
        most = int(os.environ["FAKE_DESCRIPTORS"])
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if "FAKE_KILL_AT" in os.environ:
        kill_at(os.environ["FAKE_KILL_AT"])
    flags = read_flags(["--preset", "tiny", *arguments], os.environ)
    run(flags, os.environ, make_engine)


if __name__ == "__main__":
    serve(sys.argv[1:])
