"""Looking after jobs: query-job, job-queue, job-history, stop."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError

from fooocusapi.dependencies import ServicesDep
from fooocusapi.respond import job_history, queue_sizes, warning_header, warnings_of
from fooocusapi.schemas.responses import JobHistory, JobObject, Message, QueueSizes, StopAnswer

router = APIRouter(tags=["Jobs"])


@router.get(
    "/v1/generation/query-job",
    operation_id="query_job",
    responses={404: {"model": JobObject, "description": "No such job."}},
)
async def query_job(
    services: ServicesDep,
    response: Response,
    job_id: str,
    require_step_preview: bool = False,
    require_step_preivew: Annotated[
        bool, Query(description="Older spelling of `require_step_preview`.")
    ] = False,
) -> JobObject:
    """Where a job stands, with its results once it has ended."""
    view = services.queue.find(job_id)
    wanted = require_step_preview or require_step_preivew
    make = partial(services.responder.job_object, view, with_preview=wanted)
    job = await asyncio.get_running_loop().run_in_executor(services.control_threads, make)
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
        404: {"description": "Nothing to delete under that id."},
        409: {"description": "The job to delete has not finished."},
    },
)
async def history(
    services: ServicesDep,
    job_id: str | None = None,
    page: Annotated[int | None, Query(ge=0)] = None,
    page_size: Annotated[int | None, Query(ge=1, le=1000)] = None,
    delete: bool = False,
) -> JobHistory | Message:
    """Unfinished and finished jobs; with `delete` and a job id, removes that job and its files."""
    if not delete:
        view = services.queue.view()
        return job_history(view, job_id=job_id, page=page, page_size=page_size)
    remove = partial(services.queue.delete, _required(job_id))
    await asyncio.get_running_loop().run_in_executor(services.control_threads, remove)
    return Message(message="Deleted")


@router.post("/v1/generation/stop", operation_id="stop")
async def stop(services: ServicesDep) -> StopAnswer:
    """Stop the running job within one step; waiting jobs go on."""
    services.queue.stop_running()
    return StopAnswer(msg="success")


def _required(job_id: str | None) -> str:
    if job_id:
        return job_id
    error = {"type": "missing", "loc": ("query", "job_id"), "msg": "needed with delete"}
    raise RequestValidationError([error])
