"""The application: parts, routes, handlers and middleware put together.

Importing this loads no model library; the engine is made on the worker's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import date
from functools import cache

from fastapi import APIRouter, Depends, FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute

from fooocus_core.catalog import Catalog
from fooocus_core.config import CoreConfig
from fooocus_core.hashes import HASH_CACHE_FILE, HashCache
from fooocus_core.metadata.reading import RecordReader
from fooocus_core.prompt.styles import StyleLibrary, load_styles
from fooocusapi import __version__
from fooocusapi.api_keys import KeyRing
from fooocusapi.cross_origin import Application
from fooocusapi.dependencies import Services, admit
from fooocusapi.errors import add_handlers
from fooocusapi.event_tokens import EventTokens
from fooocusapi.idempotency import IdempotencyKeys
from fooocusapi.inputs import Inputs
from fooocusapi.job_events import EventStreams
from fooocusapi.job_parts import make_job_parts
from fooocusapi.jobs.worker import Engine
from fooocusapi.openapi import DESCRIPTION, TAGS, completed
from fooocusapi.problems import ProblemRoute
from fooocusapi.rate_limit import RateLimiter
from fooocusapi.respond import Responder
from fooocusapi.routers import (
    deliveries,
    documentation,
    engines,
    events,
    files,
    generation,
    health,
    job_control,
    jobs,
    pages,
    tools,
)
from fooocusapi.routers.answers import (
    ADMISSION_ANSWERS,
    ANY_ANSWERS,
    PROBLEM_ANSWERS,
    Answers,
)
from fooocusapi.schemas.parameters import RequestModel
from fooocusapi.security import Gate
from fooocusapi.settings import Settings
from fooocusapi.storage import Storage
from fooocusapi.submit import Submitter
from fooocusapi.translate import Translator, unknown_styles
from fooocusapi.translate_back import BackTranslator

_log = logging.getLogger(__name__)

_REQUESTS: tuple[type[RequestModel], ...] = (*generation.REQUESTS, *tools.REQUESTS)
_FLUSH_S = 5.0
_CONTROL_THREADS = 2


def create_app(
    settings: Settings,
    core: CoreConfig,
    make_engine: Callable[[], Engine],
    *,
    today: Callable[[], date] = date.today,
    on_lost: Callable[[], None] = lambda: None,
) -> FastAPI:
    """Build the application.

    Args:
        make_engine: Called once on the worker's thread after the start.
        today: The local date, which names the folder of new pictures.
        on_lost: Called when only a new process can make pictures: a run hangs, or the device has
            failed.
    """
    services = _make_services(settings, core, make_engine, today, on_lost)
    app = Application(
        settings,
        title="fooocusapi",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=_lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    app.router.routes.extend(_make_routes())
    documentation.add_documentation(app)
    add_handlers(app)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    app.openapi = completed(app, _REQUESTS)  # type: ignore[method-assign]
    return app


@cache
def _make_routes() -> tuple[BaseRoute, ...]:
    """The routes, which know of no app: made once, since nothing of an app takes longer."""
    whole = APIRouter(strict_content_type=False)
    keyed = [Depends(admit)]
    for module in (generation, tools, jobs, job_control, events, deliveries, engines, pages):
        answers = _answers_of(module.router)
        whole.include_router(module.router, dependencies=keyed, responses=answers)
    for router in (files.router, health.router):
        whole.include_router(router, responses=ANY_ANSWERS)
    return tuple(whole.routes)


def _answers_of(router: APIRouter) -> Answers:
    return PROBLEM_ANSWERS if router.route_class is ProblemRoute else ADMISSION_ANSWERS


def _make_services(
    settings: Settings,
    core: CoreConfig,
    make_engine: Callable[[], Engine],
    today: Callable[[], date],
    on_lost: Callable[[], None],
) -> Services:
    catalog = Catalog(core.folders)
    styles = load_styles(core.folders.user_styles)
    _log_style_warnings(styles, core)
    storage = Storage(settings.outputs, settings.base_url, today)
    parts = make_job_parts(settings, storage, make_engine, on_lost)
    responder = Responder(storage=storage, plain_base64=settings.plain_base64)
    inputs = Inputs(
        storage=storage,
        own_files=f"{settings.base_url}/files/",
        allow_private=settings.allow_private_urls,
    )
    translator = Translator(settings=settings, core=core, catalog=catalog, styles=styles)
    intake = ThreadPoolExecutor(1, thread_name_prefix="intake")
    return Services(
        settings=settings,
        gate=Gate(KeyRing(settings.keys), RateLimiter(settings.rate_limit), EventTokens()),
        catalog=catalog,
        styles=styles,
        storage=storage,
        queue=parts.queue,
        store=parts.store,
        lookup=parts.lookup,
        history=parts.history,
        retention=parts.retention,
        recovery=parts.recovery,
        worker=parts.worker,
        watchdog=parts.watchdog,
        outbox=parts.outbox,
        webhooks=parts.webhooks,
        responder=responder,
        event_streams=EventStreams(responder),
        control_threads=ThreadPoolExecutor(_CONTROL_THREADS, thread_name_prefix="control"),
        intake=intake,
        submitter=Submitter(
            queue=parts.queue,
            lookup=parts.lookup,
            keys=IdempotencyKeys(parts.store),
            retention=parts.retention,
            intake=intake,
            inputs=inputs,
            input_files=parts.input_files,
            translator=translator,
            responder=responder,
            cancels_lost=settings.cancel_on_disconnect,
        ),
        inputs=inputs,
        back_translator=BackTranslator(
            reader=RecordReader(
                catalog=catalog,
                hashes=HashCache(core.folders.cache / HASH_CACHE_FILE),
                styles=styles,
            ),
            defaults=core.defaults,
        ),
    )


def _log_style_warnings(styles: StyleLibrary, core: CoreConfig) -> None:
    for warning in styles.warnings:
        _log.warning("%s", warning)
    for name in unknown_styles(core.defaults, styles):
        close = " or ".join(styles.close_to(name)) or "a name of /v1/engines/styles"
        _log.warning("configuration: unknown style '%s' left out (wanted: %s)", name, close)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    services.webhooks.start()
    await asyncio.to_thread(services.recovery.run)
    services.retention.start()
    services.worker.start()
    services.watchdog.start()
    if services.settings.preload:
        await asyncio.wrap_future(services.worker.loaded)
    yield
    await asyncio.to_thread(services.worker.stop, services.settings.shutdown_grace_s)
    await asyncio.to_thread(services.webhooks.stop, _FLUSH_S)
    await asyncio.to_thread(services.watchdog.stop)
    await asyncio.to_thread(services.retention.stop)
    services.control_threads.shutdown(wait=False)
    services.intake.shutdown(wait=False)
    services.store.close()
