"""Percent and status text over a whole run, in the reference's own numbers and words.

Knows nothing of jobs; the service makes its wire form from the events sent here.
Source: pipeline behaviour of lllyasviel/Fooocus 2.5.5 (its worker's progress texts).
"""

from __future__ import annotations

from fooocus_core.events import (
    CancelToken,
    EventSink,
    Preview,
    Progress,
    SamplingStep,
    Warned,
)
from fooocus_core.params import Image

CHECKING = "Checking for NSFW content ..."


class Reporter:
    """Counts the percentage of one run and hands events to its caller."""

    def __init__(self, sink: EventSink, cancel: CancelToken) -> None:
        self._sink = sink
        self._cancel = cancel
        self.percent = 0

    def say(self, text: str, *, percent: int | None = None) -> None:
        """Send a status text, optionally moving the percentage first."""
        if percent is not None:
            self.percent = percent
        self.check_cancelled()
        self._sink(Progress(percent=self.percent, text=text))

    def advance(self, text: str) -> None:
        """Send a status text at the next higher percentage."""
        self.say(text, percent=self.percent + 1)

    def warn(self, text: str) -> None:
        """Tell the caller that something was left out or replaced."""
        self._sink(Warned(text=text))

    def show(self, image: Image) -> None:
        """Send a preview of the unfinished picture, uint8 (H/4, W/4, 3)."""
        self._sink(Preview(image=image))

    def check_cancelled(self) -> None:
        """Raise ``RunCancelled`` if the run was asked to stop."""
        self._cancel.raise_if_cancelled()

    def check_skipped(self) -> None:
        """Raise ``ImageSkipped`` if the picture being made is not wanted any more."""
        self._cancel.raise_if_skipped()

    def sampling(self, steps_of_run: int, images: int) -> SamplingReporter:
        """Start counting sampling steps from the present percentage."""
        return SamplingReporter(self, self._sink, steps_of_run, images)


class SamplingReporter:
    """Progress of the sampling phase, from the percentage reached before it to 100."""

    def __init__(self, reporter: Reporter, sink: EventSink, steps: int, images: int) -> None:
        self._reporter = reporter
        self._sink = sink
        self._steps = steps
        self._images = images
        self._prepared = reporter.percent
        self._share = (100 - self._prepared) / max(steps * images, 1)
        self._image = 0
        self._sampled = 0.0

    def start_image(self, image: int) -> None:
        """Announce the picture of index ``image``."""
        self._image = image
        self._sampled = 0.0
        self._reporter.say(f"Preparing task {image + 1}/{self._images} ...")

    def step(self, step: int, steps: int) -> None:
        """Report the 0-based ``step`` of the ``steps`` that the sampler makes."""
        # Added up step by step: a product rounds differently, and the number is truncated.
        self._sampled += self._share
        image = f"image {self._image + 1}/{self._images}"
        self._reporter.check_cancelled()
        self._reporter.check_skipped()
        self._sink(
            Progress(
                percent=int(self._reporter.percent + self._sampled),
                text=f"Sampling step {step + 1}/{steps}, {image} ...",
                sampling=SamplingStep(
                    step=step, steps=steps, image=self._image, images=self._images
                ),
            )
        )

    def check_image(self) -> None:
        """Announce that the present picture is about to be looked at before it is handed over."""
        self._say_painted(CHECKING)

    def finish_image(self) -> None:
        """Announce that the present picture is about to be handed over."""
        self._say_painted(f"Saving image {self._image + 1}/{self._images} to system ...")
        self.leave_image()

    def leave_image(self) -> None:
        """Count the present picture as done, finished or not."""
        done = self._share * self._steps * (self._image + 1)
        self._reporter.percent = int(self._prepared + done)

    def _say_painted(self, text: str) -> None:
        percent = int(self._reporter.percent + self._share * self._steps)
        self._sink(Progress(percent=percent, text=text))
