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


def test_passes_go_on_from_the_number_reached_and_nothing_else_moves_it() -> None:
    recorded = load_json("jobs/enhance_uov/job")["progress"]
    texts = [text for _, text in recorded]
    events: list[Event] = []
    reporter = Reporter(events.append, CancelToken())
    reporter.say("Moving model to GPU ...", percent=5)
    sampling = reporter.sampling(3, 1, later=3)
    sampling.start_image(0)
    for step in range(3):
        sampling.step(step, 3)
    sampling.finish_image()
    reporter.hold()
    reporter.say("Loading models ...", percent=2)
    reporter.advance("Processing prompts ...")
    sampling = reporter.sampling_again(0, 1, 3)
    for step in range(3):
        sampling.step(step, 3)
    sampling.finish_image()
    made = [[event.percent, event.text] for event in events if isinstance(event, Progress)]
    first, second = texts.index("Moving model to GPU ..."), texts.index("Processing enhance ...")
    loading = texts.index("Loading models ...", second)
    encoding = texts.index("Encoding positive #1 ...", second)
    assert made == [
        *recorded[first:second],
        *recorded[loading:encoding],
        *recorded[encoding + 2 :],
    ]


def test_a_later_pass_has_its_number_and_its_own_steps() -> None:
    events: list[Event] = []
    reporter = Reporter(events.append, CancelToken())
    reporter.share_out(10)
    for number, steps in ((0, 4), (2, 6)):
        sampling = reporter.sampling_again(number, 3, steps)
        sampling.step(steps - 1, steps)
        sampling.finish_image()
    assert [event.text for event in events if isinstance(event, Progress)] == [
        "Sampling step 4/4, image 1/3 ...",
        "Saving image 1/3 to system ...",
        "Sampling step 6/6, image 3/3 ...",
        "Saving image 3/3 to system ...",
    ]
    assert reporter.percent == 100


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
