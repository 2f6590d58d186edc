"""What happens to a job, told as it happens.

Failures before the first event are problem details.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from fastapi.sse import EventSourceResponse

from fooocusapi.dependencies import LookupDep, Services, ServicesDep
from fooocusapi.exceptions import JobKeptError
from fooocusapi.job_events import read_last_id
from fooocusapi.job_lookup import JobLookup
from fooocusapi.jobs.job import JobView
from fooocusapi.problems import ProblemRoute

router = APIRouter(prefix="/v1", tags=["Jobs"], route_class=ProblemRoute)

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events, until the job has ended.",
        "content": {"text/event-stream": {}},
    },
    204: {"description": "The job has ended, and `Last-Event-ID` was its last event."},
    404: {"description": "No such job."},
}


@router.get(
    "/generation/jobs/{job_id}/events",
    operation_id="job_events",
    response_class=Response,
    responses=_ANSWERS,
)
async def job_events(
    job_id: str,
    services: ServicesDep,
    lookup: LookupDep,
    previews: bool = True,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Follow a job by server-sent events, from its beginning or after `Last-Event-ID`.

    `queued`, `started`, `completed`, `failed` and `canceled` hold the job, `progress` where it
    stands, `preview` (unless `previews=false`) the unfinished picture as base64 of a PNG, `image` a
    finished one, `warning` a text, `error` a code and a text.
    """
    after = read_last_id(last_event_id)
    await _find(services, lookup, job_id)
    streams = services.event_streams
    channel = streams.channel(job_id, services.queue.unfinished_job(job_id))
    if channel is not None:
        # Numbers of an earlier run of the server mean nothing here.
        after = after if after <= channel.journal.newest else 0
        if channel.journal.is_over:
            if after == channel.journal.newest:
                return Response(status_code=204)
            after = after or channel.journal.newest - 1
        frames = streams.follow(channel, after, with_previews=previews)
        return EventSourceResponse(frames, headers=_HEADERS)
    # It may have ended meanwhile.
    view = await _find(services, lookup, job_id)
    if not view.is_finished:
        raise JobKeptError(job_id)
    return EventSourceResponse(streams.tell_end(view, after), headers=_HEADERS)


async def _find(services: Services, lookup: JobLookup, job_id: str) -> JobView:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(services.control_threads, lookup.find, job_id)
