"""Everything that jobs need, put together: where they lie, wait, run, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fooocus_core.events import GeneratedImage, Warned
from fooocusapi.image_log import ImageLog
from fooocusapi.input_files import InputFiles
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
from fooocusapi.recovery import Recovery
from fooocusapi.settings import Settings
from fooocusapi.storage import Place, Storage
from fooocusapi.webhooks import Webhooks


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
    store = JobStore(open_database(settings.database or embedded_url(settings.outputs)))
    input_files = InputFiles(settings.outputs)
    webhooks = Webhooks(
        settings.webhook_url,
        public_only=settings.public_webhooks_only,
        url_of=lambda image: storage.url(image.date, image.name),
    )

    def remove_images(view: JobView) -> None:
        for image in view.images:
            storage.delete(image.date, image.name)

    def tell_end(view: JobView) -> None:
        webhooks.announce(view)
        retention.look(view.id)

    queue = JobQueue(
        store=store,
        size=settings.queue_size,
        on_finished=tell_end,
        clock=make_clock(store.latest_ms() + 1),
    )
    retention = Retention(queue, store, _limits(settings), input_files.remove, remove_images)
    load_params, save_image = _params_loader(input_files), _image_saver(settings, storage, store)
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
        worker=Worker(queue, make_engine, load_params, save_image, on_lost),
        watchdog=Watchdog(queue, settings.step_timeout_s, on_lost),
        webhooks=webhooks,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        count=settings.queue_history,
        days=settings.retention_days,
        size_bytes=settings.retention_bytes,
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
