"""One job: what it records and lets go of."""

from __future__ import annotations

import numpy as np
import pytest

from fooocus_core.events import Preview, Progress, SamplingStep, Warned
from fooocus_core.params import GenerationParams, ModelParams
from fooocusapi.jobs.job import Delivery, Job, SavedImage
from fooocusapi.schemas.vocabulary import FinishReason, JobKind, JobStage


@pytest.fixture
def job() -> Job:
    params = GenerationParams(models=ModelParams(base="x"))
    return Job(
        kind=JobKind.TEXT_TO_IMAGE,
        params=params,
        delivery=Delivery(),
        warnings=("first",),
        queued_ms=1,
    )


def step(step_number: int, image: int = 0) -> Progress:
    place = SamplingStep(step=step_number, steps=4, image=image, images=2)
    return Progress(percent=99, text="sampling", sampling=place)


def test_furthest_step_never_goes_back(job: Job) -> None:
    for event in (step(2), step(1), step(0, image=1), step(3)):
        job.record(event)
    furthest = job.view().furthest
    assert furthest is not None
    assert (furthest.image, furthest.step) == (1, 0)


def test_percent_is_the_largest_outside_sampling(job: Job) -> None:
    for event in (Progress(percent=5, text="a"), step(0), Progress(percent=3, text="b")):
        job.record(event)
    view = job.view()
    assert view.percent == 5
    assert view.progress == Progress(percent=3, text="b")


def test_a_warning_is_kept_once(job: Job) -> None:
    for text in ("second", "first", "second"):
        job.record(Warned(text=text))
    assert job.view().warnings == ("first", "second")


def test_end_lets_go_of_pictures_and_parameters(job: Job) -> None:
    job.start(2)
    job.record(Preview(image=np.zeros((2, 2, 3), np.uint8)))
    job.add_image(SavedImage(date="d", name="n", seed=3))
    view = job.finish(FinishReason.SUCCESS, None, 4)
    assert view.stage is JobStage.SUCCESS
    assert view.preview is None
    assert [image.seed for image in view.images] == [3]
    with pytest.raises(AssertionError):
        _ = job.params
    job.record(Preview(image=np.zeros((2, 2, 3), np.uint8)))
    assert job.view() == view


def test_a_job_ends_once(job: Job) -> None:
    job.finish(FinishReason.USER_CANCEL, None, 2)
    with pytest.raises(AssertionError):
        job.finish(FinishReason.SUCCESS, None, 3)


def test_an_earlier_view_does_not_change(job: Job) -> None:
    before = job.view()
    job.start(2)
    assert before.stage is JobStage.WAITING
