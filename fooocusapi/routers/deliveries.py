"""What receivers of webhooks were told, and telling it again.

Failures are problem details.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from fooocusapi.dependencies import ServicesDep
from fooocusapi.jobs.outbox import MessageRecord
from fooocusapi.problems import ProblemRoute
from fooocusapi.schemas.responses import DeliveryPage, DeliveryReport
from fooocusapi.schemas.vocabulary import DeliveryStatus

router = APIRouter(prefix="/v1/webhooks", tags=["Webhooks"], route_class=ProblemRoute)

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "No such delivery."}}


@router.get("/deliveries", operation_id="list_deliveries")
async def list_deliveries(
    services: ServicesDep,
    job_id: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(pattern="^[1-9][0-9]{0,17}$")] = None,
) -> DeliveryPage:
    """What receivers were told or are to be told, the newest first.

    `next_cursor` of one page is the `cursor` of the next.
    """

    def read() -> list[MessageRecord]:
        before = None if cursor is None else int(cursor)
        return services.outbox.page(limit=limit, job_id=job_id, before=before)

    records = await asyncio.get_running_loop().run_in_executor(services.control_threads, read)
    return DeliveryPage(
        deliveries=[_report(record) for record in records],
        next_cursor=str(records[-1].number) if len(records) == limit else None,
    )


@router.post(
    "/deliveries/{delivery_id}/resend",
    operation_id="resend_delivery",
    status_code=202,
    responses=_UNKNOWN,
)
async def resend_delivery(delivery_id: str, services: ServicesDep) -> DeliveryReport:
    """Tell the receiver once more, under the same id and from the first attempt on."""
    record = await asyncio.get_running_loop().run_in_executor(
        services.control_threads, services.outbox.resend, delivery_id, services.queue.now_ms()
    )
    services.webhooks.wake()
    return _report(record)


def _report(record: MessageRecord) -> DeliveryReport:
    message = record.message
    is_pending = message.status is DeliveryStatus.PENDING
    return DeliveryReport(
        id=message.id,
        job_id=message.job_id,
        type=message.type,
        status=message.status,
        url=message.target,
        attempts=message.attempts,
        created_at=_time(message.made_ms),
        next_attempt_at=_time(message.due_ms) if is_pending else None,
        last_status=message.answer,
        last_error=message.problem,
    )


def _time(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)
