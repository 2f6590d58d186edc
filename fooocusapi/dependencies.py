"""What endpoints may ask for.

Every dependency is a coroutine: the thread pool of blocking ones has few places, and waiting
callers must not fill it.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Annotated

from fastapi import Depends, Header, Query, Request

from fooocus_core.catalog import Catalog
from fooocus_core.prompt.styles import StyleLibrary
from fooocusapi.disconnects import hang_up_of
from fooocusapi.inputs import Inputs
from fooocusapi.job_events import EventStreams
from fooocusapi.job_history import History
from fooocusapi.job_lookup import JobLookup
from fooocusapi.jobs.outbox import Outbox
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.retention import Retention
from fooocusapi.jobs.store import JobStore
from fooocusapi.jobs.watchdog import Watchdog
from fooocusapi.jobs.worker import Worker
from fooocusapi.origins import check_page
from fooocusapi.preferences import Preferences, read_key, read_prefer
from fooocusapi.recovery import Recovery
from fooocusapi.respond import Responder
from fooocusapi.security import Caller, Gate, scope_of
from fooocusapi.settings import Settings
from fooocusapi.storage import Storage
from fooocusapi.submit import Submitter
from fooocusapi.translate_back import BackTranslator
from fooocusapi.webhooks import Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of a running service; one per app.

    Attributes:
        control_threads: For looking after jobs, which must answer although every thread that
            translates requests and converts pictures is taken.
        intake: The one thread on which jobs are accepted.
    """

    settings: Settings
    gate: Gate
    catalog: Catalog
    styles: StyleLibrary
    storage: Storage
    queue: JobQueue
    worker: Worker
    watchdog: Watchdog
    responder: Responder
    event_streams: EventStreams
    submitter: Submitter
    inputs: Inputs
    back_translator: BackTranslator
    webhooks: Webhooks
    control_threads: Executor
    intake: Executor
    store: JobStore
    outbox: Outbox
    retention: Retention
    recovery: Recovery
    lookup: JobLookup
    history: History


async def get_services(request: Request) -> Services:
    """The parts of the service that the request came to."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]


async def admit(request: Request, services: ServicesDep) -> Caller:
    """Refuse a request of a page that may not call, or without a key that is for the route."""
    settings = services.settings
    if scope_of(request.method, request.scope["route"].path) is not None:
        check_page(request.headers, settings.cors_origins, settings.base_url)
    return services.gate.admit(request)


CallerDep = Annotated[Caller, Depends(admit)]


async def own_jobs(services: ServicesDep, caller: CallerDep) -> JobLookup:
    """The jobs that the caller may see."""
    return replace(services.lookup, owner=caller.owner)


LookupDep = Annotated[JobLookup, Depends(own_jobs)]


async def preferences(
    request: Request,
    caller: CallerDep,
    accept: Annotated[
        str, Query(description="`image/png` for the bytes of one picture; wins over the header.")
    ] = "",
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="The same key and the same body mean the same job, for a day.",
            json_schema_extra={"maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
        ),
    ] = None,
    prefer: Annotated[
        list[str] | None,
        Header(
            alias="Prefer",
            description="`respond-async`: 202 at once. `wait=60`: 202 after a minute.",
        ),
    ] = None,
) -> Preferences:
    """What the caller wants apart from the picture."""
    effective = accept or request.headers.get("accept", "")
    responds_async, wait_s = read_prefer(prefer or [])
    return Preferences(
        wants_png=bare_media_type(effective) == "image/png",
        responds_async=responds_async,
        wait_s=wait_s,
        key=read_key(idempotency_key),
        scope=_scope(request, caller),
        owner=caller.name,
        hang_up=hang_up_of(request),
    )


def _scope(request: Request, caller: Caller) -> str:
    """Whose idempotency keys these are: those of one API key, on one route."""
    place = f"{request.url.path}\n{caller.name}"
    return sha256(place.encode(errors="replace")).hexdigest()


def bare_media_type(text: str) -> str:
    """A media type without parameters and blanks, in lower case."""
    return text.partition(";")[0].strip().lower()


PreferencesDep = Annotated[Preferences, Depends(preferences)]
