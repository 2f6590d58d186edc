"""Looking after jobs: query-job, job-queue, job-history, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError

from fooocusapi.api_keys import Scope
from fooocusapi.dependencies import CallerDep, LookupDep, ServicesDep
from fooocusapi.exceptions import HistoryEntryNotFoundError, JobNotFoundError
from fooocusapi.jobs.job import JobView
from fooocusapi.respond import queue_sizes, warning_header, warnings_of
from fooocusapi.routers.answers import STORE_ANSWERS, WARNING_HEADERS
from fooocusapi.schemas.failures import EntryNotFound
from fooocusapi.schemas.responses import JobHistory, JobObject, Message, QueueSizes, StopAnswer

router = APIRouter(tags=["Jobs"])

# Of a page beyond this no database could count how many entries it skips.
_MAX_PAGE = 10**9


@router.get(
    "/v1/generation/query-job",
    operation_id="query_job",
    responses={
        **STORE_ANSWERS,
        200: {"headers": WARNING_HEADERS},
        404: {"model": JobObject, "description": "No such job."},
    },
)
async def query_job(
    services: ServicesDep,
    lookup: LookupDep,
    response: Response,
    job_id: str,
    require_step_preview: bool = False,
    require_step_preivew: Annotated[
        bool, Query(description="Older spelling of `require_step_preview`.", deprecated=True)
    ] = False,
) -> JobObject:
    """Where a job stands, with its results once it has ended."""
    wanted = require_step_preview or require_step_preivew

    def look() -> tuple[JobView, JobObject]:
        view = lookup.find_shown(job_id)
        return view, services.responder.job_object(view, with_preview=wanted)

    loop = asyncio.get_running_loop()
    view, job = await loop.run_in_executor(services.control_threads, look)
    response.headers.update(warning_header(warnings_of(view, job.job_result)))
    return job


@router.get("/v1/generation/job-queue", operation_id="job_queue")
@router.get("/v1/engines/job-queue", operation_id="job_queue_of_engine")
async def job_queue(services: ServicesDep) -> QueueSizes:
    """How many jobs are unfinished and finished."""
    return queue_sizes(services.queue.view())


@router.get(
    "/v1/generation/job-history",
    operation_id="job_history",
    responses={
        **STORE_ANSWERS,
        404: {"model": EntryNotFound, "description": "Nothing to delete under that id."},
        409: {"description": "The job to delete has not finished."},
    },
)
async def history(
    services: ServicesDep,
    lookup: LookupDep,
    caller: CallerDep,
    job_id: str | None = None,
    page: Annotated[int | None, Query(ge=0, le=_MAX_PAGE)] = None,
    page_size: Annotated[int | None, Query(ge=1, le=1000)] = None,
    delete: bool = False,
) -> JobHistory | Message:
    """Unfinished and finished jobs; with `delete` and a job id, removes that job and its files."""
    loop = asyncio.get_running_loop()
    if not delete:
        shown = replace(services.history, owner=caller.owner)
        look = partial(shown.page, job_id=job_id, page=page, page_size=page_size)
        return await loop.run_in_executor(services.control_threads, look)
    caller.require(Scope.GENERATE)
    wanted = _required(job_id)

    def remove() -> None:
        try:
            lookup.find(wanted)
        except JobNotFoundError as error:
            raise HistoryEntryNotFoundError("no job of that id is in the history") from error
        services.retention.delete(wanted)

    await loop.run_in_executor(services.control_threads, remove)
    return Message(message="Deleted")


@router.post(
    "/v1/generation/stop",
    operation_id="stop",
    responses={
        **STORE_ANSWERS,
        404: {"model": JobObject, "description": "No job of the id given."},
        409: {"description": "The job of the id given has ended."},
    },
)
async def stop(services: ServicesDep, lookup: LookupDep, job_id: str | None = None) -> StopAnswer:
    """Stop the running job within one step; waiting jobs go on. With an id, cancel that job."""
    cancel: Callable[[], object] = lookup.stop_running
    if job_id is not None:
        cancel = partial(lookup.cancel, job_id)
    await asyncio.get_running_loop().run_in_executor(services.control_threads, cancel)
    return StopAnswer(msg="success")


def _required(job_id: str | None) -> str:
    if job_id:
        return job_id
    error = {"type": "missing", "loc": ("query", "job_id"), "msg": "needed with delete"}
    raise RequestValidationError([error])
