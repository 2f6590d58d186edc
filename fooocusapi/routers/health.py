"""Signs of life for whoever watches the server; they need no key and tell no secret."""

from __future__ import annotations

from fastapi import APIRouter, Response

from fooocusapi import __version__
from fooocusapi.dependencies import Services, ServicesDep
from fooocusapi.schemas.responses import HealthReport
from fooocusapi.schemas.vocabulary import HealthStatus

router = APIRouter(tags=["Health"])


@router.get(
    "/health",
    operation_id="health",
    responses={503: {"model": HealthReport, "description": "The worker is gone or hangs."}},
)
@router.get("/healthz", include_in_schema=False)
@router.get("/livez", include_in_schema=False)
async def health(services: ServicesDep, response: Response) -> HealthReport:
    """Whether the worker lives; that there is an answer at all tells the same of the event loop."""
    is_alive = _is_alive(services)
    if not is_alive:
        response.status_code = 503
    return HealthReport(status=_status(services), version=__version__, checks={"worker": is_alive})


def _is_alive(services: Services) -> bool:
    return services.worker.is_alive and not services.watchdog.has_bitten


def _status(services: Services) -> HealthStatus:
    if services.queue.is_closed:
        return HealthStatus.DRAINING
    if not _is_alive(services):
        return HealthStatus.FAILED
    if not services.worker.loaded.done():
        return HealthStatus.STARTING
    return HealthStatus.BUSY if services.queue.is_busy else HealthStatus.READY
