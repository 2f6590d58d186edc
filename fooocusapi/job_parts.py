"""Everything that jobs need, put together: where they lie, wait, run, and what becomes of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from fooocus_core.events import GeneratedImage, Warned
from fooocusapi.exceptions import StoreError
from fooocusapi.image_log import ImageLog
from fooocusapi.input_files import InputFiles
from fooocusapi.job_history import History
from fooocusapi.job_lookup import JobLookup
from fooocusapi.jobs.clock import make_clock
from fooocusapi.jobs.database import embedded_url, open_database
from fooocusapi.jobs.job import Job, JobView, SavedImage
from fooocusapi.jobs.outbox import Outbox
from fooocusapi.jobs.params_json import decode_params
from fooocusapi.jobs.queue import JobQueue
from fooocusapi.jobs.retention import Limits, Retention
from fooocusapi.jobs.store import JobStore
from fooocusapi.jobs.watchdog import Watchdog
from fooocusapi.jobs.worker import Engine, LoadParams, SaveImage, Worker
from fooocusapi.recovery import Recovery
from fooocusapi.schemas.vocabulary import WebhookEvent
from fooocusapi.settings import Settings
from fooocusapi.storage import Place, Storage
from fooocusapi.webhook_messages import MessageWriter
from fooocusapi.webhooks import Rules, Webhooks

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobParts:
    """The parts of a service that have to do with jobs."""

    store: JobStore
    input_files: InputFiles
    queue: JobQueue
    lookup: JobLookup
    history: History
    retention: Retention
    recovery: Recovery
    worker: Worker
    watchdog: Watchdog
    outbox: Outbox
    webhooks: Webhooks


def make_job_parts(
    settings: Settings,
    storage: Storage,
    make_engine: Callable[[], Engine],
    on_lost: Callable[[], None],
) -> JobParts:
    """Open the job store and build what works on it; nothing is started yet.

    Raises:
        StoreError: The job store cannot be used.
    """
    database = open_database(settings.database or embedded_url(settings.outputs))
    clock = make_clock(JobStore(database).latest_ms() + 1)
    outbox = Outbox(database)
    writer = MessageWriter(
        has_common_target=settings.webhook_url is not None,
        url_of=lambda image: storage.url(image.date, image.name),
        clock=clock,
    )
    webhooks = Webhooks(
        outbox, _rules(settings), clock, lambda job_id: queue.unfinished_job(job_id) is not None
    )
    store = JobStore(database, writer.messages, webhooks.wake)
    input_files = InputFiles(settings.outputs)

    def remove_images(view: JobView) -> None:
        for image in view.images:
            storage.delete(image.date, image.name)

    def tell_end(view: JobView) -> None:
        if writer.wants(view, WebhookEvent.COMPLETED):
            webhooks.wake()
        retention.look(view.id)

    queue = JobQueue(
        store=store,
        size=settings.queue_size,
        on_finished=tell_end,
        clock=clock,
    )
    retention = Retention(queue, store, _limits(settings), input_files.remove, remove_images)
    save_image = _telling(_image_saver(settings, storage, store), writer, outbox, webhooks.wake)
    worker = Worker(
        queue,
        make_engine,
        _params_loader(input_files),
        save_image,
        on_lost,
        unload_after_s=settings.unload_after_s,
    )

    def give_up() -> None:
        worker.abandon()
        on_lost()

    is_persistent = settings.persistent
    return JobParts(
        store=store,
        input_files=input_files,
        queue=queue,
        lookup=JobLookup(
            queue=queue, store=store, since_ms=queue.now_ms(), is_persistent=is_persistent
        ),
        history=History(queue=queue, store=store, storage=storage, is_persistent=is_persistent),
        retention=retention,
        recovery=Recovery(
            store=store,
            queue=queue,
            storage=storage,
            input_files=input_files,
            remove_images=remove_images,
            max_attempts=settings.max_attempts,
        ),
        worker=worker,
        watchdog=Watchdog(queue, settings.step_timeout_s, give_up),
        outbox=outbox,
        webhooks=webhooks,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        count=settings.queue_history,
        days=settings.retention_days,
        size_bytes=settings.retention_bytes,
    )


def _rules(settings: Settings) -> Rules:
    return Rules(
        common_target=settings.webhook_url,
        public_only=settings.public_webhooks_only,
        secrets=settings.webhook_secrets,
    )


def _telling(
    save_image: SaveImage, writer: MessageWriter, outbox: Outbox, wake: Callable[[], None]
) -> SaveImage:
    """Has each saved picture told to who wants to know at once."""

    def save_and_tell(job: Job, index: int, image: GeneratedImage) -> SavedImage:
        saved = save_image(job, index, image)
        view = job.view()
        view = replace(view, images=(*view.images, saved))
        try:
            for message in writer.messages(view, WebhookEvent.OUTPUT):
                outbox.add_output(message)
                wake()
        except StoreError as error:
            _log.warning("job %s: no receiver is told of a picture: %s", job.id, error)
        return saved

    return save_and_tell


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
