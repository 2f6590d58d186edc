"""The wire form of a job's progress."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from fooocus_core.events import Progress, SamplingStep
from fooocusapi.respond import Responder
from fooocusapi.storage import Storage
from tests.golden import load_json
from tests.jobs import make_job

RECORDED = load_json("check-values-text-to-image")["progress"]
STEPS = 30


@pytest.fixture
def responder(tmp_path: Path) -> Responder:
    storage = Storage(tmp_path, "http://127.0.0.1:8888", date.today)
    return Responder(storage=storage, plain_base64=False)


def shown(responder: Responder, places: list[tuple[int, int]], images: int) -> list[int]:
    """The progress shown after each of these (image, step) of a job."""
    job = make_job()
    job.start(1)
    numbers = []
    for image, step in places:
        place = SamplingStep(step=step, steps=STEPS, image=image, images=images)
        job.record(Progress(percent=99, text="Sampling step", sampling=place))
        numbers.append(responder.job_object(job.view(), with_preview=False).job_progress)
    return numbers


def test_steps_are_shown_with_the_recorded_numbers(responder: Responder) -> None:
    places = [(0, step) for step in range(STEPS)]
    assert shown(responder, places, images=1) == RECORDED["api_1image_30steps"]


def test_a_second_picture_goes_on_with_the_recorded_number(responder: Responder) -> None:
    (number,) = shown(responder, [(1, 0)], images=2)
    assert number == RECORDED["api_2images_30steps_first_step_of_image2"]
