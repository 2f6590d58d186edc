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
        self._share = 0.0
        self._is_held = False
        self.percent = 0

    def say(self, text: str, *, percent: int | None = None) -> None:
        """Send a status text, optionally moving the percentage first, unless it is held."""
        if percent is not None and not self._is_held:
            self.percent = percent
        self.check_cancelled()
        self._sink(Progress(percent=self.percent, text=text))

    def advance(self, text: str) -> None:
        """Send a status text at the next higher percentage, unless it is held."""
        self.climb()
        self.say(text)

    def climb(self) -> None:
        """Move to the next higher percentage, unless it is held."""
        if not self._is_held:
            self.percent += 1

    def hold(self) -> None:
        """From now on let nothing but sampling move the percentage."""
        self._is_held = True

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

    def share_out(self, steps: int) -> None:
        """Share what is left up to 100 among all sampling steps of the run."""
        self._share = (100 - self.percent) / max(steps, 1)

    def sampling(self, steps: int, images: int, later: int = 0) -> SamplingReporter:
        """Start counting sampling steps from the present percentage.

        Args:
            steps: Of each picture.
            images: How many pictures are painted.
            later: Steps of all passes that follow.
        """
        self.share_out(steps * images + later)
        return SamplingReporter(self, self._sink, share=self._share, steps=steps, images=images)

    def sampling_again(self, number: int, of: int, steps: int) -> SamplingReporter:
        """Go on counting, for the pass over a picture that has the 0-based ``number``."""
        sampling = SamplingReporter(self, self._sink, share=self._share, steps=steps, images=of)
        sampling.enter(number)
        return sampling


class SamplingReporter:
    """Progress of a sampling phase, from the percentage reached before it.

    Args:
        share: Percent per sampling step.
        steps: Of each picture.
        images: How many pictures the texts speak of.
    """

    def __init__(
        self, reporter: Reporter, sink: EventSink, *, share: float, steps: int, images: int
    ) -> None:
        self._reporter = reporter
        self._sink = sink
        self._share = share
        self._steps = steps
        self._images = images
        self._prepared = reporter.percent
        self._image = 0
        self._finished = 0
        self._sampled = 0.0

    def enter(self, image: int) -> None:
        """Turn to the picture of index ``image``."""
        self._image = image
        self._sampled = 0.0

    def start_image(self, image: int) -> None:
        """Announce the picture of index ``image``."""
        self.enter(image)
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
        self._finished += 1
        done = self._share * self._steps * self._finished
        self._reporter.percent = int(self._prepared + done)

    def _say_painted(self, text: str) -> None:
        percent = int(self._reporter.percent + self._share * self._steps)
        self._sink(Progress(percent=percent, text=text))
