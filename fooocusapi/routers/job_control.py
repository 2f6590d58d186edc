"""The additive job routes: list, look, cancel, skip, retry, delete; and the queue as a whole.

Failures are problem details.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Response

from fooocusapi.dependencies import (
    LookupDep,
    PreferencesDep,
    Services,
    ServicesDep,
)
from fooocusapi.event_tokens import LIFETIME_S
from fooocusapi.job_report import job_report, status_of
from fooocusapi.jobs.store import JobFilter, JobRecord
from fooocusapi.problems import ProblemRoute
from fooocusapi.respond import place_header
from fooocusapi.routers.answers import PLACE_HEADERS, RETRY_HEADERS, Answers
from fooocusapi.schemas.responses import EventsToken, JobPage, JobReport, QueueReport
from fooocusapi.schemas.vocabulary import JobKind, JobStatus

router = APIRouter(prefix="/v1", tags=["Jobs"], route_class=ProblemRoute)

_Cursor = Annotated[str | None, Query(pattern="^[1-9][0-9]{0,17}$")]
_UNKNOWN: Answers = {404: {"description": "No such job."}}
_REFUSED: Answers = {
    **_UNKNOWN,
    409: {"description": "The job is in another state."},
}
_RETRIED: Answers = {
    **_REFUSED,
    202: {"headers": PLACE_HEADERS},
    400: {"description": "`Idempotency-Key` is malformed."},
    422: {"description": "`Idempotency-Key` was used for another job."},
    429: {"description": "As many jobs as allowed wait or run.", "headers": RETRY_HEADERS},
}
Result = TypeVar("Result")


@router.get("/generation/jobs", operation_id="list_jobs")
async def list_jobs(
    services: ServicesDep,
    lookup: LookupDep,
    status: Annotated[list[JobStatus] | None, Query()] = None,
    type: Annotated[list[JobKind] | None, Query()] = None,  # noqa: A002  (a name of the interface)
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: _Cursor = None,
) -> JobPage:
    """Jobs of this and earlier runs of the server, the newest first.

    `next_cursor` of one page is the `cursor` of the next.
    """
    wanted = JobFilter(
        statuses=status or (), kinds=type or (), before=None if cursor is None else int(cursor)
    )
    records = await _off_loop(services, lookup.page, wanted, limit)
    return JobPage(
        jobs=[_report(record, services) for record in records if _is_wanted(record, status)],
        next_cursor=str(records[-1].number) if len(records) == limit else None,
    )


@router.get("/generation/jobs/{job_id}", operation_id="get_job", responses=_UNKNOWN)
async def get_job(job_id: str, services: ServicesDep, lookup: LookupDep) -> JobReport:
    """Where a job stands, with its results once it has ended."""
    view = await _off_loop(services, lookup.find, job_id)
    return job_report(view, services.responder)


@router.post("/generation/jobs/{job_id}/cancel", operation_id="cancel_job", responses=_REFUSED)
async def cancel_job(job_id: str, services: ServicesDep, lookup: LookupDep) -> JobReport:
    """Cancel this job and no other, waiting or running; a running one ends within a step."""
    view = await _off_loop(services, lookup.cancel, job_id)
    return job_report(view, services.responder)


@router.post("/generation/jobs/{job_id}/skip", operation_id="skip_image", responses=_REFUSED)
async def skip_image(job_id: str, services: ServicesDep, lookup: LookupDep) -> JobReport:
    """End the picture being made; the job goes on with the next one."""
    view = await _off_loop(services, lookup.skip, job_id)
    return job_report(view, services.responder)


@router.post(
    "/generation/jobs/{job_id}/retry",
    operation_id="retry_job",
    status_code=202,
    responses=_RETRIED,
)
async def retry_job(
    job_id: str,
    services: ServicesDep,
    lookup: LookupDep,
    caller: PreferencesDep,
    response: Response,
) -> JobReport:
    """Make a new job that asks for the same as one that failed or was cancelled."""
    await _off_loop(services, lookup.find, job_id)
    retried = await services.submitter.retry(job_id, caller)
    response.headers.update(place_header(retried.id))
    return job_report(retried, services.responder)


@router.delete(
    "/generation/jobs/{job_id}", operation_id="delete_job", status_code=204, responses=_REFUSED
)
async def delete_job(job_id: str, services: ServicesDep, lookup: LookupDep) -> None:
    """Remove an ended job and the pictures it made."""
    await _off_loop(services, lookup.find, job_id)
    await _off_loop(services, services.retention.delete, job_id)


@router.post(
    "/generation/jobs/{job_id}/events-token", operation_id="make_events_token", responses=_UNKNOWN
)
async def make_events_token(job_id: str, services: ServicesDep, lookup: LookupDep) -> EventsToken:
    """Make what a browser follows this job with, as `token` in the query of its events.

    The events of one job take it in place of a key, for some minutes.
    """
    view = await _off_loop(services, lookup.find, job_id)
    token = services.gate.tokens.mint(view.id, view.delivery.owner)
    return EventsToken(token=token, expires_in=LIFETIME_S)


@router.post("/queue/pause", operation_id="pause_queue")
async def pause_queue(services: ServicesDep) -> QueueReport:
    """Begin no further job; the running one goes on, and new ones are accepted."""
    services.queue.pause()
    return QueueReport(is_paused=True)


@router.post("/queue/resume", operation_id="resume_queue")
async def resume_queue(services: ServicesDep) -> QueueReport:
    """Begin jobs again."""
    services.queue.resume()
    return QueueReport(is_paused=False)


@router.post("/queue/clear", operation_id="clear_queue")
async def clear_queue(services: ServicesDep) -> QueueReport:
    """Cancel all waiting jobs; the running one goes on."""
    canceled = await _off_loop(services, services.queue.clear)
    return QueueReport(is_paused=services.queue.is_paused, canceled=canceled)


async def _off_loop(
    services: Services, function: Callable[..., Result], *arguments: object
) -> Result:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(services.control_threads, partial(function, *arguments))


def _report(record: JobRecord, services: Services) -> JobReport:
    return job_report(record.view, services.responder)


def _is_wanted(record: JobRecord, statuses: list[JobStatus] | None) -> bool:
    # The store does not tell apart how far a running job is.
    return not statuses or status_of(record.view) in statuses
