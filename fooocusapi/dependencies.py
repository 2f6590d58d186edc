"""What endpoints may ask for.

Every dependency is a coroutine: the thread pool of blocking ones has few places, and waiting
callers must not fill it.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Request

from fooocus_core.catalog import Catalog
from fooocus_core.prompt.styles import StyleLibrary
from fooocusapi.inputs import Inputs
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.worker import Worker
from fooocusapi.respond import Responder
from fooocusapi.security import check_key
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
    """

    settings: Settings
    catalog: Catalog
    styles: StyleLibrary
    storage: Storage
    queue: JobQueue
    worker: Worker
    responder: Responder
    submitter: Submitter
    inputs: Inputs
    back_translator: BackTranslator
    webhooks: Webhooks
    control_threads: Executor


async def get_services(request: Request) -> Services:
    """The parts of the service that the request came to."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]


async def require_key(
    services: ServicesDep, x_api_key: Annotated[str | None, Header(include_in_schema=False)] = None
) -> None:
    """Refuse a request without the configured API key."""
    check_key(services.settings.apikey, x_api_key)


async def wants_png(
    request: Request,
    accept: Annotated[
        str, Query(description="`image/png` for the bytes of one picture; wins over the header.")
    ] = "",
) -> bool:
    """Whether the caller accepts exactly ``image/png``."""
    effective = accept or request.headers.get("accept", "")
    return bare_media_type(effective) == "image/png"


def bare_media_type(text: str) -> str:
    """A media type without parameters and blanks, in lower case."""
    return text.partition(";")[0].strip().lower()


WantsPng = Annotated[bool, Depends(wants_png)]
