"""Job -> what the additive job routes tell of it."""

from __future__ import annotations

from datetime import UTC, datetime

from fooocusapi.jobs.job import JobView
from fooocusapi.respond import Responder, progress_of, status_text
from fooocusapi.schemas.responses import JobError, JobPicture, JobReport
from fooocusapi.schemas.vocabulary import JobStage, JobStatus


def status_of(view: JobView) -> JobStatus:
    """The state of a job in one word."""
    if view.is_finished:
        if view.is_cancelled:
            return JobStatus.CANCELED
        succeeded = view.stage is JobStage.SUCCESS
        return JobStatus.SUCCEEDED if succeeded else JobStatus.FAILED
    if view.stage is JobStage.WAITING:
        return JobStatus.QUEUED
    return JobStatus.STARTING if view.furthest is None else JobStatus.RUNNING


def job_report(view: JobView, responder: Responder) -> JobReport:
    """Everything about a job but its previews."""
    failure = view.failure
    url = responder.storage.url
    return JobReport(
        id=view.id,
        type=view.kind,
        status=status_of(view),
        progress=progress_of(view),
        message=status_text(view),
        attempt=view.attempt,
        created_at=_time(view.queued_ms),
        started_at=_time(view.started_ms),
        finished_at=_time(view.finished_ms),
        images=[
            JobPicture(url=url(image.date, image.name), seed=str(image.seed))
            for image in view.images
        ],
        warnings=list(view.warnings),
        error=None if failure is None else JobError(code=failure.code, message=failure.text),
    )


def _time(time_ms: int) -> datetime | None:
    return datetime.fromtimestamp(time_ms / 1000, UTC) if time_ms else None
