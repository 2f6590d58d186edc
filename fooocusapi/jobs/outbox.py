"""What receivers of webhooks are to be told, on disk until they were told or given up.

A message is written with the change it tells of or not at all. Knows no network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, Row, delete, exists, func, insert, select, update

from fooocusapi.exceptions import DeliveryNotFoundError
from fooocusapi.jobs.database import Use, connected
from fooocusapi.jobs.tables import jobs, messages
from fooocusapi.schemas.vocabulary import DeliveryStatus, MessageType

OUTPUT_EVERY_MS = 500
"""Pictures of one job are told of so often at most; what comes in between is told together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One thing that one receiver is to be told.

    Attributes:
        id: The same over all attempts.
        target: Who is told; ``None`` = who is told of every job.
        body: JSON text.
        attempts: How many there have been since it was last asked for.
        due_ms: Not before then is the next attempt.
        answer: Status of the receiver's last answer.
        problem: Why the last attempt failed.
    """

    id: str
    job_id: str
    type: MessageType
    target: str | None
    body: str
    made_ms: int
    due_ms: int
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0
    answer: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """A message with its place in the order of all."""

    number: int
    message: Message


def new_message_id() -> str:
    """An id that no message ever had."""
    return f"msg_{uuid4().hex}"


def write_messages(connection: Connection, new: Iterable[Message]) -> None:
    """Write messages inside the transaction of what they tell of."""
    for message in new:
        connection.execute(insert(messages).values(asdict(message)))


def drop_messages(connection: Connection, job_id: str) -> None:
    """Forget the messages of a removed job; those still to be sent are sent first."""
    connection.execute(
        delete(messages).where(
            messages.c.job_id == job_id, messages.c.status != DeliveryStatus.PENDING
        )
    )


class Outbox:
    """The messages in the database of the job store.

    Every method raises :class:`StoreError` if the database cannot be used.

    Args:
        engine: A database as ``open_database`` opens it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = engine.execution_options(use=Use.READ)
        self._noting = engine.execution_options(use=Use.NOTE)

    def add_output(self, message: Message) -> None:
        """Have a picture told of, together with those before it that wait for their time."""
        earlier = (messages.c.job_id == message.job_id, messages.c.type == message.type)
        with connected(self._noting) as connection:
            # What was sent once keeps its content, because it keeps its id.
            is_untold = (
                messages.c.status == DeliveryStatus.PENDING,
                messages.c.attempts == 0,
                messages.c.due_ms > message.due_ms,
            )
            waiting = update(messages).where(*earlier, *is_untold)
            if connection.execute(waiting.values(body=message.body)).rowcount:
                return
            last = connection.execute(select(func.max(messages.c.due_ms)).where(*earlier)).scalar()
            due_ms = max(message.due_ms, (last or 0) + OUTPUT_EVERY_MS)
            write_messages(connection, [replace(message, due_ms=due_ms)])

    def due(self, now_ms: int, limit: int, busy: Collection[str | None] = ()) -> list[Message]:
        """Messages whose time has come, the one that waits longest first.

        Args:
            busy: Targets that are not told anything more for now.
        """
        query = select(messages).where(
            messages.c.status == DeliveryStatus.PENDING, messages.c.due_ms <= now_ms
        )
        for target in busy:
            query = query.where(messages.c.target.is_distinct_from(target))
        return [
            record.message for record in self._read(query.order_by(messages.c.due_ms).limit(limit))
        ]

    def next_due_ms(self, after_ms: int) -> int | None:
        """When the next message is due whose time has not come."""
        query = select(func.min(messages.c.due_ms)).where(
            messages.c.status == DeliveryStatus.PENDING, messages.c.due_ms > after_ms
        )
        with connected(self._reading) as connection:
            found: int | None = connection.execute(query).scalar()
        return found

    def note_attempt(self, message: Message) -> None:
        """Keep what became of an attempt; what nobody can ask for any more is forgotten."""
        changed = {
            name: getattr(message, name)
            for name in ("status", "attempts", "due_ms", "answer", "problem")
        }
        job_exists = exists().where(jobs.c.id == message.job_id)
        with connected(self._noting) as connection:
            connection.execute(update(messages).where(messages.c.id == message.id).values(changed))
            if message.status is not DeliveryStatus.PENDING:
                connection.execute(delete(messages).where(messages.c.id == message.id, ~job_exists))

    def resend(self, message_id: str, now_ms: int) -> MessageRecord:
        """Have a message told again from the first attempt on, whatever became of it.

        Raises:
            DeliveryNotFoundError: There is none of that id.
        """
        again = {"status": DeliveryStatus.PENDING, "attempts": 0, "due_ms": now_ms}
        this = messages.c.id == message_id
        with connected(self._engine) as connection:
            connection.execute(update(messages).where(this).values(again))
        found = self._read(select(messages).where(this))
        if not found:
            raise DeliveryNotFoundError("no delivery of that id is known")
        return found[0]

    def page(
        self, *, limit: int, job_id: str | None = None, before: int | None = None
    ) -> list[MessageRecord]:
        """Messages, the newest first.

        Args:
            job_id: Of this job only.
            before: Only those written before the one of that number.
        """
        query = select(messages).order_by(messages.c.number.desc()).limit(limit)
        if job_id is not None:
            query = query.where(messages.c.job_id == job_id)
        if before is not None:
            query = query.where(messages.c.number < before)
        return self._read(query)

    def _read(self, query: Any) -> list[MessageRecord]:
        with connected(self._reading) as connection:
            return [_record(row) for row in connection.execute(query)]


def _record(row: Row[Any]) -> MessageRecord:
    message = Message(
        id=row.id,
        job_id=row.job_id,
        type=MessageType(row.type),
        target=row.target,
        body=row.body,
        made_ms=row.made_ms,
        due_ms=row.due_ms,
        status=DeliveryStatus(row.status),
        attempts=row.attempts,
        answer=row.answer,
        problem=row.problem,
    )
    return MessageRecord(number=row.number, message=message)
