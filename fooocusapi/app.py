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
from fooocusapi.image_log import ImageLog
from fooocusapi.inputs import Inputs
from fooocusapi.jobs.clock import make_clock
from fooocusapi.jobs.job import Job, JobView, SavedImage
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.worker import Engine, SaveImage, Worker
from fooocusapi.respond import Responder
from fooocusapi.routers import (
    engines,
    files,
    generation,
    health,
    jobs,
    pages,
    tools,
)
from fooocusapi.schemas.parameters import RequestModel
from fooocusapi.settings import Settings
from fooocusapi.storage import Storage
from fooocusapi.submit import Submitter
from fooocusapi.translate import Translator, unknown_styles
from fooocusapi.translate_back import BackTranslator
from fooocusapi.webhooks import Webhooks

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
) -> FastAPI:
    """Build the application.

    Args:
        make_engine: Called once on the worker's thread after the start.
        today: The local date, which names the folder of new pictures.
    """
    services = _make_services(settings, core, make_engine, today)
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
    for module in (generation, tools, jobs, engines, pages):
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
) -> Services:
    catalog = Catalog(core.folders)
    styles = load_styles(core.folders.user_styles)
    _log_style_warnings(styles, core)
    storage = Storage(settings.outputs, settings.base_url, today)

    def delete_images(view: JobView) -> None:
        for image in view.images:
            storage.delete(image.date, image.name)

    webhooks = Webhooks(
        settings.webhook_url,
        public_only=settings.public_webhooks_only,
        url_of=lambda image: storage.url(image.date, image.name),
    )
    queue = JobQueue(
        size=settings.queue_size,
        history=settings.queue_history,
        on_finished=webhooks.announce,
        on_dropped=delete_images,
        clock=make_clock(),
    )
    responder = Responder(storage=storage, plain_base64=settings.plain_base64)
    inputs = Inputs(
        storage=storage,
        own_files=f"{settings.base_url}/files/",
        allow_private=settings.allow_private_urls,
    )
    translator = Translator(settings=settings, core=core, catalog=catalog, styles=styles)
    return Services(
        settings=settings,
        catalog=catalog,
        styles=styles,
        storage=storage,
        queue=queue,
        worker=Worker(queue, make_engine, _image_saver(settings, storage)),
        responder=responder,
        webhooks=webhooks,
        control_threads=ThreadPoolExecutor(_CONTROL_THREADS, thread_name_prefix="control"),
        submitter=Submitter(queue=queue, inputs=inputs, translator=translator, responder=responder),
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


def _image_saver(settings: Settings, storage: Storage) -> SaveImage:
    image_log = ImageLog(storage.root)

    def save_image(job: Job, index: int, image: GeneratedImage) -> SavedImage:
        delivery = job.view().delivery
        folder, name = storage.save(
            image,
            stem=delivery.name or job.id,
            index=index,
            extension=delivery.extension,
            warn=lambda text: job.record(Warned(text=text)),
        )
        if settings.image_log:
            image_log.add(folder, name, image)
        return SavedImage(date=folder, name=name, seed=image.seed)

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
    services.worker.start()
    if services.settings.preload:
        await asyncio.wrap_future(services.worker.loaded)
    yield
    await asyncio.to_thread(services.worker.stop, services.settings.shutdown_grace_s)
    await asyncio.to_thread(services.webhooks.stop, _FLUSH_S)
    services.control_threads.shutdown(wait=False)


def _openapi_with_bodies(app: FastAPI) -> Callable[[], dict[str, Any]]:
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        schema.setdefault("components", {}).setdefault("schemas", {}).update(
            describe_models(_REQUESTS)
        )
        return schema

    return openapi
