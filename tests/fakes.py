"""Test doubles: an engine that paints plain pictures by script, and a receiver of webhooks."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fooocus_core.choices import DescribeKind, MetadataScheme
from fooocus_core.errors import ImageSkipped
from fooocus_core.events import (
    CancelToken,
    EventSink,
    GeneratedImage,
    ImageRecord,
    Preview,
    Progress,
    SamplingStep,
    Warned,
)
from fooocus_core.params import GenerationParams, Image, MaskParams

STEPS = 4
WAIT_S = 30
GATE_S = 60


@dataclass(frozen=True, kw_only=True)
class Script:
    """How one run goes.

    Attributes:
        gated: Every step waits until the test lets it pass.
        failure: Raised at the first step of the image of that index.
        fails_at: That index.
        warning: Told at the start.
    """

    gated: bool = False
    failure: BaseException | None = None
    fails_at: int = 0
    warning: str | None = None


class Gate:
    """Lets a test see each step arrive and let it pass."""

    def __init__(self) -> None:
        self._arrived: queue.Queue[SamplingStep] = queue.Queue()
        self._passes: queue.Queue[None] = queue.Queue()

    def arrive(self, step: SamplingStep, cancel: CancelToken) -> None:
        self._arrived.put(step)
        limit = time.monotonic() + GATE_S
        # A test that waits for a run whose step it does not let pass is to fail, not to hang.
        while time.monotonic() < limit:
            cancel.raise_if_cancelled()
            cancel.raise_if_skipped()
            try:
                return self._passes.get(timeout=0.01)
            except queue.Empty:
                continue
        raise AssertionError("nobody has let this step pass")

    def wait_for_step(self) -> SamplingStep:
        """The next step that has arrived and waits to be let through."""
        return self._arrived.get(timeout=WAIT_S)

    def open(self, steps: int = 1) -> None:
        """Let so many steps pass."""
        for _ in range(steps):
            self._passes.put(None)


class FakeEngine:
    """An engine without models: pictures whose colour tells their seed.

    Attributes:
        gate: For scripts that are gated.
        asked: Parameters of every run, in order.
        masked: Picture and parameters of every mask, in order.
        tool_failure: Raised by tools.
        saved_memory: Whether each run was to save memory, in order.
        rested: How often it was told that work has ended.
        freed: How often memory was freed.
        described: Kinds of the pictures that were described, in order.
        hold: Cleared = descriptions wait until it is set.
        pace: Called at each step.
        usual: How runs go of which nothing else was said.
        size: Width and height of all pictures; ``None`` = what is asked for.
    """

    def __init__(
        self,
        pace: Callable[[], None] = lambda: None,
        usual: Script | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.gate = Gate()
        self.asked: list[GenerationParams] = []
        self.masked: list[tuple[Image, MaskParams]] = []
        self.tool_failure: BaseException | None = None
        self.saved_memory: list[bool] = []
        self.rested = 0
        self.freed = 0
        self.described: list[DescribeKind] = []
        self.hold = threading.Event()
        self.hold.set()
        self.pace = pace
        self.usual = usual or Script()
        self.size = size
        self.load_failure: BaseException | None = None
        self.is_fetching = False
        self._scripts: deque[Script] = deque()

    def play(self, *scripts: Script) -> None:
        """Say how the next runs go; later ones go as usual."""
        self._scripts.extend(scripts)

    def load(self, check: Callable[[], None]) -> None:
        while self.is_fetching:
            check()
            time.sleep(0.01)
        if self.load_failure is not None:
            raise self.load_failure

    def rest(self) -> None:
        self.rested += 1

    def free_memory(self) -> None:
        self.freed += 1

    def describe(self, image: Image, kind: DescribeKind) -> str:
        """Tell size and first pixel, once the test lets it."""
        self.hold.wait(WAIT_S)
        if self.tool_failure is not None:
            raise self.tool_failure
        height, width, _ = image.shape
        self.described.append(kind)
        return f"{kind}: {width}x{height}, {image[0, 0].tolist()}"

    def generate_mask(self, image: Image, params: MaskParams) -> NDArray[np.uint8]:
        """White where the red channel is bright."""
        self.masked.append((image, params))
        if self.tool_failure is not None:
            raise self.tool_failure
        return np.where(image[..., 0] > 127, 255, 0).astype(np.uint8)

    def generate(
        self,
        params: GenerationParams,
        on_event: EventSink,
        cancel: CancelToken,
        *,
        saves_memory: bool = False,
    ) -> Generator[GeneratedImage]:
        self.saved_memory.append(saves_memory)
        script = self._scripts.popleft() if self._scripts else self.usual
        self.asked.append(params)
        if self.size is not None:
            params = replace(params, canvas=replace(params.canvas, size=self.size))
        on_event(Progress(percent=1, text="Initializing ..."))
        if script.warning is not None:
            on_event(Warned(text=script.warning))
        for index in range(params.canvas.count):
            seed = params.canvas.seed + (0 if params.canvas.same_seed else index)
            if script.failure is not None and index == script.fails_at:
                raise script.failure
            picture = paint(seed, params)
            try:
                for step in range(STEPS):
                    cancel.raise_if_cancelled()
                    cancel.raise_if_skipped()
                    self._step(step, index, picture, params, on_event)
                    if script.gated:
                        self.gate.arrive(_place(step, index, params), cancel)
                    self.pace()
            except ImageSkipped:
                continue
            yield GeneratedImage(image=picture, seed=seed, record=_record(seed, params))

    def _step(
        self,
        step: int,
        index: int,
        picture: NDArray[np.uint8],
        params: GenerationParams,
        on_event: EventSink,
    ) -> None:
        place = _place(step, index, params)
        done = index * STEPS + step + 1
        text = f"Sampling step {step + 1}/{STEPS}, image {index + 1}/{params.canvas.count} ..."
        percent = int(6 + 94 * done / (STEPS * params.canvas.count))
        if params.output.previews:
            on_event(Preview(image=np.ascontiguousarray(picture[::4, ::4])))
        on_event(Progress(percent=percent, text=text, sampling=place))


def paint(seed: int, params: GenerationParams) -> NDArray[np.uint8]:
    """A plain picture of the size asked for; its colour depends on the seed."""
    width, height = params.canvas.size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:] = [(seed * factor) % 256 for factor in (37, 91, 151)]
    return picture


def _place(step: int, index: int, params: GenerationParams) -> SamplingStep:
    return SamplingStep(step=step, steps=STEPS, image=index, images=params.canvas.count)


def _record(seed: int, params: GenerationParams) -> ImageRecord | None:
    if params.output.metadata is None:
        return None
    text = f'{{"prompt": "{params.prompt.positive}", "seed": "{seed}"}}'
    scheme = MetadataScheme(params.output.metadata)
    return ImageRecord(scheme=scheme, text=text, rows=(("Seed", "seed", str(seed)),))


class FakeReceiver:
    """A web server on this host that keeps what it is told."""

    def __init__(self) -> None:
        self.bodies: queue.Queue[dict[str, Any]] = queue.Queue()
        self.hold = threading.Event()
        self.hold.set()
        self.status = 200
        self.headers: dict[str, str] = {}
        self.seen: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                raw = self.rfile.read(length)
                body = json.loads(raw)
                receiver.seen.append((dict(self.headers.items()), raw))
                receiver.hold.wait(WAIT_S)
                receiver.bodies.put({**body, "_type": self.headers["Content-Type"]})
                self.send_response(receiver.status)
                self.send_header("Location", "/elsewhere")
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self.server.server_address[1]}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def next(self) -> dict[str, Any]:
        return self.bodies.get(timeout=WAIT_S)

    def close(self) -> None:
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
