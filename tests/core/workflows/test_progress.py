"""Percent and texts of a run."""

from __future__ import annotations

import pytest

from fooocus_core.errors import RunCancelled
from fooocus_core.events import CancelToken, Event, Progress
from fooocus_core.workflows.progress import Reporter
from tests.golden import load_json


def sampled(steps: int, images: int, prepared: int) -> list[list[object]]:
    events: list[Event] = []
    reporter = Reporter(events.append, CancelToken())
    reporter.say("Moving model to GPU ...", percent=prepared)
    sampling = reporter.sampling(steps, images)
    for image in range(images):
        sampling.start_image(image)
        for step in range(steps):
            sampling.step(step, steps)
        sampling.finish_image()
    return [[event.percent, event.text] for event in events if isinstance(event, Progress)]


@pytest.mark.parametrize(
    ("job", "steps", "images"),
    [("t2i_plain", 8, 1), ("t2i_default30", 30, 1), ("t2i_styles_2img", 6, 2)],
)
def test_sampling_reports_the_recorded_numbers_and_texts(job: str, steps: int, images: int) -> None:
    recorded = load_json(f"jobs/{job}/job")["progress"]
    start = [text for _, text in recorded].index("Moving model to GPU ...")
    assert sampled(steps, images, recorded[start][0]) == recorded[start:]


def test_a_step_says_where_it_stands() -> None:
    events: list[Event] = []
    sampling = Reporter(events.append, CancelToken()).sampling(4, 2)
    sampling.start_image(1)
    sampling.step(2, 4)
    event = events[-1]
    assert isinstance(event, Progress)
    assert event.sampling is not None
    assert (event.sampling.step, event.sampling.steps) == (2, 4)
    assert (event.sampling.image, event.sampling.images) == (1, 2)


def test_a_cancelled_run_ends_at_its_next_report() -> None:
    cancel = CancelToken()
    reporter = Reporter([].append, cancel)
    cancel.cancel()
    with pytest.raises(RunCancelled):
        reporter.say("Initializing ...")


def test_a_run_with_expansion_reports_the_measured_numbers() -> None:
    measured = load_json("check-values-text-to-image")["progress"]
    case = measured["fooocus_1image_30steps_with_expansion"]
    numbers = [number for number, _ in sampled(30, 1, case["preparation_steps"])]
    # Before the steps: moving and preparing; after them: saving.
    assert numbers[2:-1] == case["per_step"]
    assert numbers[-1] == case["after"]
