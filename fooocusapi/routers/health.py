"""Signs of life for whoever watches the server; they need no key and tell no secret."""

from __future__ import annotations

import asyncio
import shutil

from fastapi import APIRouter, Response

from fooocusapi import __version__
from fooocusapi.dependencies import Services, ServicesDep
from fooocusapi.exceptions import StoreError
from fooocusapi.schemas.responses import HealthReport
from fooocusapi.schemas.vocabulary import HealthStatus

router = APIRouter(tags=["Health"])

_LEAST_FREE_BYTES = 100 * 1024 * 1024


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


@router.get(
    "/ready",
    operation_id="ready",
    responses={503: {"model": HealthReport, "description": "No job should be sent here now."}},
)
@router.get("/readyz", include_in_schema=False)
async def ready(services: ServicesDep, response: Response) -> HealthReport:
    """Whether a job would be accepted now and could be made."""
    loop = asyncio.get_running_loop()
    can_store, has_room = await loop.run_in_executor(
        services.control_threads, lambda: (_can_store(services), _has_room(services))
    )
    checks = {
        "worker": _is_alive(services),
        "accepting": not services.queue.is_closed,
        "models": services.worker.loaded.done(),
        "store": can_store,
        "disk": has_room,
        "queue": len(services.queue.view().unfinished) < services.settings.queue_size,
    }
    if not all(checks.values()):
        response.status_code = 503
    return HealthReport(status=_status(services), version=__version__, checks=checks)


@router.get(
    "/startupz",
    operation_id="startup",
    responses={503: {"model": HealthReport, "description": "The models are being loaded."}},
)
async def startup(services: ServicesDep, response: Response) -> HealthReport:
    """Whether the first loading of models has ended; jobs are accepted before that, too."""
    is_done = services.worker.loaded.done()
    if not is_done:
        response.status_code = 503
    return HealthReport(status=_status(services), version=__version__, checks={"models": is_done})


def _can_store(services: Services) -> bool:
    try:
        services.store.check()
    except StoreError:
        return False
    return True


def _has_room(services: Services) -> bool:
    try:
        return shutil.disk_usage(services.settings.outputs).free >= _LEAST_FREE_BYTES
    except OSError:
        return False


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
