"""Every job on disk, from the moment it is accepted until it is removed.

Knows neither the queue nor the files of pictures, only their names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from fooocusapi.jobs.database import Use, connected
from fooocusapi.jobs.job import Delivery, Failure, JobView, SavedImage, StoredRequest
from fooocusapi.jobs.outbox import Message, drop_messages, write_messages
from fooocusapi.jobs.tables import images, jobs, keys
from fooocusapi.schemas.vocabulary import (
    ErrorCode,
    FinishReason,
    JobKind,
    JobStage,
    JobStatus,
    SaveExtension,
    WebhookEvent,
)

MessagesOf = Callable[[JobView, WebhookEvent], Sequence[Message]]

_UNFINISHED = jobs.c.stage.in_([JobStage.WAITING, JobStage.RUNNING])
_FINISHED = jobs.c.stage.in_([JobStage.SUCCESS, JobStage.ERROR])
_STATUSES: dict[JobStatus, ColumnElement[bool]] = {
    JobStatus.QUEUED: jobs.c.stage == JobStage.WAITING,
    JobStatus.STARTING: jobs.c.stage == JobStage.RUNNING,
    JobStatus.RUNNING: jobs.c.stage == JobStage.RUNNING,
    JobStatus.CANCELED: and_(_FINISHED, jobs.c.is_cancelled),
    JobStatus.SUCCEEDED: and_(jobs.c.stage == JobStage.SUCCESS, ~jobs.c.is_cancelled),
    JobStatus.FAILED: and_(jobs.c.stage == JobStage.ERROR, ~jobs.c.is_cancelled),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as it lies in the store.

    Attributes:
        number: Place in the order of acceptance.
    """

    number: int
    view: JobView
    stored: StoredRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """An idempotency key with what was sent under it.

    Attributes:
        scope: Whose key it is, and for which route.
        fingerprint: Tells requests apart.
    """

    scope: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs are wanted.

    Attributes:
        before: Only those accepted before the job of that number.
        owner: Only those of the API key of that name.
    """

    statuses: Sequence[JobStatus] = ()
    kinds: Sequence[JobKind] = ()
    before: int | None = None
    owner: str | None = None


class JobStore:
    """The jobs in a database.

    Every method that changes something does so as a whole or not at all, and waits while the
    database is locked; each raises :class:`StoreError` if the database cannot be used.

    Args:
        engine: A database as ``open_database`` opens it.
        messages_of: What is to be told of a job that begins or has ended; written together with
            that.
        on_begin: Called when something is to be told of a job that begins.
    """

    def __init__(
        self,
        engine: Engine,
        messages_of: MessagesOf = lambda _view, _event: (),
        on_begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._messages_of = messages_of
        self._on_begin = on_begin
        self._reading = engine.execution_options(use=Use.READ)
        self._noting = engine.execution_options(use=Use.NOTE)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def check(self) -> None:
        """Find out whether the database can be written."""
        with connected(self._noting) as connection:
            connection.execute(delete(keys).where(keys.c.made_ms < 0))

    def accept(self, view: JobView, stored: StoredRequest, key: KeyUse | None = None) -> None:
        """Take a job in, and with it the key under which it was sent.

        When this returns, the job survives the end of the process and a loss of power.
        """
        with connected(self._engine) as connection:
            connection.execute(insert(jobs).values({**job_columns(view), **asdict(stored)}))
            if key is not None:
                row = {**asdict(key), "job_id": view.id, "made_ms": view.queued_ms}
                connection.execute(insert(keys).values(row))

    def start(self, view: JobView) -> None:
        """Note that a run of a job begins, so that runs that end the process are counted."""
        values = {"stage": view.stage, "attempt": view.attempt, "started_ms": view.started_ms}
        messages = self._messages_of(view, WebhookEvent.START)
        with connected(self._noting) as connection:
            connection.execute(update(jobs).where(jobs.c.id == view.id).values(values))
            write_messages(connection, messages)
        if messages:
            self._on_begin()

    def note_cancel(self, job_id: str) -> None:
        """Note that an unfinished job is to end as cancelled, even if the process ends first."""
        wanted = and_(jobs.c.id == job_id, _UNFINISHED)
        with connected(self._engine) as connection:
            connection.execute(update(jobs).where(wanted).values(is_cancelled=True))

    def add_image(self, job_id: str, position: int, image: SavedImage) -> None:
        """Note a picture that is about to get its name, so that no file is ever forgotten."""
        number = select(jobs.c.number).where(jobs.c.id == job_id).scalar_subquery()
        row = {"job": number, "position": position, **asdict(image)}
        with connected(self._noting) as connection:
            _drop_images(connection, job_id, position)
            connection.execute(insert(images).values(row))

    def save(self, view: JobView) -> None:
        """Keep a job as it is now; noted pictures that it does not have are not part of it."""
        with connected(self._engine) as connection:
            connection.execute(_change(view))
            _drop_images(connection, view.id, len(view.images))
            if view.is_finished:
                write_messages(connection, self._messages_of(view, WebhookEvent.COMPLETED))

    def remove(self, job_id: str) -> bool:
        """Forget a job; ``False`` if there is none of that id."""
        with connected(self._engine) as connection:
            _drop_images(connection, job_id, 0)
            drop_messages(connection, job_id)
            return connection.execute(delete(jobs).where(jobs.c.id == job_id)).rowcount > 0

    def find(self, job_id: str) -> JobRecord | None:
        """A job by its id."""
        found = self._read(select(jobs).where(jobs.c.id == job_id))
        return found[0] if found else None

    def unfinished(self) -> list[JobRecord]:
        """Jobs that have not ended, in the order of acceptance."""
        return self._read(select(jobs).where(_UNFINISHED).order_by(jobs.c.number))

    def page(self, wanted: JobFilter, limit: int) -> list[JobRecord]:
        """Jobs, the newest first."""
        query = select(jobs).order_by(jobs.c.number.desc()).limit(limit)
        if wanted.statuses:
            # A status that no stored job has matches nothing.
            known = [_STATUSES[status] for status in wanted.statuses if status in _STATUSES]
            query = query.where(or_(jobs.c.number < 0, *known))
        if wanted.kinds:
            query = query.where(jobs.c.kind.in_(wanted.kinds))
        if wanted.before is not None:
            query = query.where(jobs.c.number < wanted.before)
        if wanted.owner is not None:
            query = query.where(_is_of(wanted.owner))
        return self._read(query)

    def finished(
        self,
        *,
        limit: int,
        offset: int = 0,
        job_id: str | None = None,
        owner: str | None = None,
    ) -> list[JobRecord]:
        """Jobs that have ended, the one accepted last first; with an owner, those of its key."""
        numbers = select(jobs.c.number).where(_FINISHED).order_by(jobs.c.number.desc())
        if job_id is not None:
            numbers = numbers.where(jobs.c.id == job_id)
        if owner is not None:
            numbers = numbers.where(_is_of(owner))
        # Their numbers stand in an index; what is skipped is not read that way.
        page = numbers.limit(limit).offset(offset).subquery()
        query = select(jobs).join(page, page.c.number == jobs.c.number)
        return self._read(query.order_by(jobs.c.number.desc()))

    def oldest_finished(self, limit: int) -> list[JobRecord]:
        """Jobs that have ended, the one accepted first first."""
        return self._read(select(jobs).where(_FINISHED).order_by(jobs.c.number).limit(limit))

    def count_finished(self) -> int:
        """How many jobs have ended."""
        with connected(self._reading) as connection:
            query = select(func.count()).select_from(jobs).where(_FINISHED)
            return int(connection.execute(query).scalar_one())

    def finished_bytes(self) -> int:
        """How much room the pictures of ended jobs take."""
        query = select(func.coalesce(func.sum(images.c.size_bytes), 0)).select_from(
            images.join(jobs)
        )
        with connected(self._reading) as connection:
            return int(connection.execute(query.where(_FINISHED)).scalar_one())

    def latest_ms(self) -> int:
        """The latest time in any record, 0 if there is none."""
        times = (jobs.c.queued_ms, jobs.c.started_ms, jobs.c.finished_ms)
        with connected(self._reading) as connection:
            row = connection.execute(select(*(func.max(time) for time in times))).one()
        return max((value or 0 for value in row), default=0)

    def find_key(self, scope: str, key: str) -> tuple[str, str] | None:
        """Fingerprint and job id of a key that was used before."""
        query = select(keys.c.fingerprint, keys.c.job_id).where(
            keys.c.scope == scope, keys.c.key == key
        )
        with connected(self._reading) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row.fingerprint, row.job_id)

    def drop_keys(self, before_ms: int) -> None:
        """Forget keys that were used before a time."""
        with connected(self._noting) as connection:
            connection.execute(delete(keys).where(keys.c.made_ms < before_ms))

    def _read(self, query: Select[Any]) -> list[JobRecord]:
        with connected(self._reading) as connection:
            rows = connection.execute(query).all()
            pictures: dict[int, list[SavedImage]] = {row.number: [] for row in rows}
            by_place = select(images).order_by(images.c.job, images.c.position)
            for row in connection.execute(by_place.where(images.c.job.in_(list(pictures)))):
                pictures[row.job].append(_image(row))
        return [_record(row, tuple(pictures[row.number])) for row in rows]


def _is_of(owner: str) -> ColumnElement[bool]:
    # Unlike the names of files beside it, an owner's name needs no escape in JSON.
    return jobs.c.delivery.contains(f'"owner": "{owner}"', autoescape=True)


def _change(view: JobView) -> Any:
    return update(jobs).where(jobs.c.id == view.id).values(job_columns(view))


def _drop_images(connection: Connection, job_id: str, first: int) -> None:
    number = select(jobs.c.number).where(jobs.c.id == job_id).scalar_subquery()
    gone = and_(images.c.job == number, images.c.position >= first)
    connection.execute(delete(images).where(gone))


def job_columns(view: JobView) -> dict[str, Any]:
    """What the table of jobs holds of a job, but for what was asked for."""
    failure = view.failure
    return {
        "id": view.id,
        "kind": view.kind,
        "stage": view.stage,
        "reason": view.reason,
        "is_cancelled": view.is_cancelled,
        "attempt": view.attempt,
        "seed": view.seed,
        "queued_ms": view.queued_ms,
        "started_ms": view.started_ms,
        "finished_ms": view.finished_ms,
        "delivery": json.dumps(asdict(view.delivery)),
        "warnings": json.dumps(view.warnings),
        "code": None if failure is None else failure.code,
        "error": None if failure is None else json.dumps(failure.text),
    }


def _image(row: Row[Any]) -> SavedImage:
    return SavedImage(date=row.date, name=row.name, seed=row.seed, size_bytes=row.size_bytes)


def _delivery(stored: dict[str, Any]) -> Delivery:
    # What earlier versions did not know of is as if it were not given.
    usual = Delivery()
    events = stored.get("webhook_events", usual.webhook_events)
    return Delivery(
        extension=SaveExtension(stored["extension"]),
        name=stored["name"],
        base64=stored["base64"],
        webhook=stored["webhook"],
        webhook_events=tuple(WebhookEvent(event) for event in events),
        owner=stored.get("owner", usual.owner),
    )


def _record(row: Row[Any], pictures: tuple[SavedImage, ...]) -> JobRecord:
    view = JobView(
        id=row.id,
        kind=JobKind(row.kind),
        delivery=_delivery(json.loads(row.delivery)),
        seed=row.seed,
        queued_ms=row.queued_ms,
        stage=JobStage(row.stage),
        attempt=row.attempt,
        images=pictures,
        warnings=tuple(json.loads(row.warnings)),
        reason=None if row.reason is None else FinishReason(row.reason),
        is_cancelled=row.is_cancelled,
        failure=(
            None
            if row.code is None
            else Failure(code=ErrorCode(row.code), text=json.loads(row.error))
        ),
        started_ms=row.started_ms,
        finished_ms=row.finished_ms,
    )
    stored = StoredRequest(request=row.request, params=row.params, inputs=row.inputs)
    return JobRecord(number=row.number, view=view, stored=stored)
