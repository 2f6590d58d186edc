"""One job: what it records and lets go of."""

from __future__ import annotations

import numpy as np
import pytest

from fooocus_core.events import Preview, Progress, SamplingStep, Warned
from fooocusapi.jobs.job import Job, JobView, SavedImage
from fooocusapi.schemas.vocabulary import FinishReason, JobStage
from tests.jobs import make_job


@pytest.fixture
def job() -> Job:
    return make_job(warnings=("first",))


def end(job: Job, reason: FinishReason) -> JobView:
    final = job.decide(reason, None, 4)
    assert final is not None
    assert not job.view().is_finished
    job.finish(final)
    return final


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


def test_defect_b19_end_lets_go_of_the_preview(job: Job) -> None:
    job.start(2)
    job.record(Preview(image=np.zeros((2, 2, 3), np.uint8)))
    job.add_image(SavedImage(date="d", name="n", seed=3))
    view = end(job, FinishReason.SUCCESS)
    assert view.stage is JobStage.SUCCESS
    assert view.preview is None
    assert [image.seed for image in view.images] == [3]
    job.record(Preview(image=np.zeros((2, 2, 3), np.uint8)))
    assert job.view() == view


def test_a_job_ends_once(job: Job) -> None:
    end(job, FinishReason.USER_CANCEL)
    assert job.decide(FinishReason.SUCCESS, None, 5) is None
    assert job.view().reason is FinishReason.USER_CANCEL


def test_an_earlier_view_does_not_change(job: Job) -> None:
    before = job.view()
    job.start(2)
    assert before.stage is JobStage.WAITING
