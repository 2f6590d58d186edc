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
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.middleware.gzip import GZipMiddleware

from fooocus_core.catalog import Catalog
from fooocus_core.config import CoreConfig
from fooocus_core.events import GeneratedImage, Warned
from fooocus_core.hashes import HASH_CACHE_FILE, HashCache
from fooocus_core.metadata.reading import RecordReader
from fooocus_core.prompt.styles import StyleLibrary, load_styles
from fooocusapi import __version__
from fooocusapi.bodies import describe_models
from fooocusapi.cross_origin import Application
from fooocusapi.dependencies import Services, require_key
from fooocusapi.errors import add_handlers
from fooocusapi.idempotency import IdempotencyKeys
from fooocusapi.image_log import ImageLog
from fooocusapi.input_files import InputFiles
from fooocusapi.inputs import Inputs
from fooocusapi.job_history import History
from fooocusapi.job_lookup import JobLookup
from fooocusapi.jobs.clock import make_clock
from fooocusapi.jobs.database import embedded_url, open_database
from fooocusapi.jobs.job import Job, JobView, SavedImage
from fooocusapi.jobs.params_json import decode_params
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.retention import Limits, Retention
from fooocusapi.jobs.store import JobStore
from fooocusapi.jobs.watchdog import Watchdog
from fooocusapi.jobs.worker import Engine, LoadParams, SaveImage, Worker
from fooocusapi.needed_files import NeededFiles
from fooocusapi.recovery import Recovery
from fooocusapi.respond import Responder
from fooocusapi.routers import (
    engines,
    files,
    generation_v1,
    generation_v2,
    health,
    job_control,
    jobs,
    pages,
    tools,
)
from fooocusapi.settings import Settings
from fooocusapi.storage import Place, Storage
from fooocusapi.submit import Submitter
from fooocusapi.translate import Translator, unknown_styles
from fooocusapi.translate_back import BackTranslator
from fooocusapi.webhooks import Webhooks

_log = logging.getLogger(__name__)

_REQUESTS = (*generation_v1.REQUESTS, *generation_v2.REQUESTS, *tools.REQUESTS)
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
        description="Pictures from words, with the interface of Fooocus-API.",
        lifespan=_lifespan,
        strict_content_type=False,
        redirect_slashes=False,
    )
    app.state.services = services
    keyed = [Depends(require_key)]
    for module in (generation_v1, generation_v2, tools, jobs, job_control, engines, pages):
        app.include_router(module.router, dependencies=keyed)
    app.include_router(files.router)
    app.include_router(health.router)
    add_handlers(app)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    app.openapi = _openapi_with_bodies(app)  # type: ignore[method-assign]
    return app


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
    store = JobStore(open_database(settings.database or embedded_url(settings.outputs)))
    input_files = InputFiles(settings.outputs)

    def delete_images(view: JobView) -> None:
        for image in view.images:
            storage.delete(image.date, image.name)

    webhooks = Webhooks(
        settings.webhook_url,
        public_only=settings.public_webhooks_only,
        url_of=lambda image: storage.url(image.date, image.name),
    )

    def finished(view: JobView) -> None:
        webhooks.announce(view)
        retention.look(view.id)

    queue = JobQueue(
        store=store,
        size=settings.queue_size,
        on_finished=finished,
        clock=make_clock(store.latest_ms() + 1),
    )
    limits = Limits(
        count=settings.queue_history,
        days=settings.retention_days,
        size_bytes=settings.retention_bytes,
    )
    retention = Retention(queue, store, limits, input_files.remove, delete_images)
    lookup = JobLookup(
        queue=queue, store=store, since_ms=queue.now_ms(), is_persistent=settings.persistent
    )
    responder = Responder(storage=storage, plain_base64=settings.plain_base64)
    inputs = Inputs(
        storage=storage,
        own_files=f"{settings.base_url}/files/",
        allow_private=settings.allow_private_urls,
    )
    translator = Translator(settings=settings, core=core, catalog=catalog, styles=styles)
    intake = ThreadPoolExecutor(1, thread_name_prefix="intake")
    worker = Worker(
        queue,
        make_engine,
        _params_loader(input_files),
        _image_saver(settings, storage, store),
        on_lost,
    )
    return Services(
        settings=settings,
        catalog=catalog,
        styles=styles,
        storage=storage,
        queue=queue,
        store=store,
        lookup=lookup,
        history=History(
            queue=queue, store=store, storage=storage, is_persistent=settings.persistent
        ),
        retention=retention,
        recovery=Recovery(
            store=store,
            queue=queue,
            storage=storage,
            input_files=input_files,
            remove_images=delete_images,
            max_attempts=settings.max_attempts,
        ),
        worker=worker,
        watchdog=Watchdog(queue, settings.step_timeout_s, on_lost),
        responder=responder,
        webhooks=webhooks,
        control_threads=ThreadPoolExecutor(_CONTROL_THREADS, thread_name_prefix="control"),
        intake=intake,
        submitter=Submitter(
            queue=queue,
            lookup=lookup,
            keys=IdempotencyKeys(store),
            retention=retention,
            intake=intake,
            inputs=inputs,
            input_files=input_files,
            translator=translator,
            responder=responder,
            needed=NeededFiles(core=core, catalog=catalog),
        ),
        inputs=inputs,
        back_translator=BackTranslator(
            reader=RecordReader(
                catalog=catalog,
                hashes=HashCache(core.folders.outputs / HASH_CACHE_FILE),
                styles=styles,
            ),
            defaults=core.defaults,
        ),
    )


def _params_loader(input_files: InputFiles) -> LoadParams:
    return lambda job: decode_params(
        job.stored.params, lambda number: input_files.load(job.id, number)
    )


def _image_saver(settings: Settings, storage: Storage, store: JobStore) -> SaveImage:
    image_log = ImageLog(storage.root)

    def save_image(job: Job, index: int, image: GeneratedImage) -> SavedImage:
        delivery = job.view().delivery

        def saved(place: Place) -> SavedImage:
            return SavedImage(
                date=place.folder, name=place.name, seed=image.seed, size_bytes=place.size_bytes
            )

        place = storage.save(
            image,
            stem=delivery.name or job.id,
            index=index,
            extension=delivery.extension,
            warn=lambda text: job.record(Warned(text=text)),
            announce=lambda place: store.add_image(job.id, index, saved(place)),
        )
        if settings.image_log:
            image_log.add(place.folder, place.name, image)
        return saved(place)

    return save_image


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


def _openapi_with_bodies(app: FastAPI) -> Callable[[], dict[str, Any]]:
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        schema.setdefault("components", {}).setdefault("schemas", {}).update(
            describe_models(_REQUESTS)
        )
        return schema

    return openapi
