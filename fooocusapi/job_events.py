"""What happens to a job, as a stream of server-sent events.

Belongs to the event loop: followers of a job share one place that is told of news, and hold no
events of their own, so that however many there are and however slow they read, memory is bounded.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from fooocusapi.job_report import job_report
from fooocusapi.jobs.job import Job, JobView, final_event
from fooocusapi.jobs.journal import Entry
from fooocusapi.respond import Responder, png_text, progress_of, status_text
from fooocusapi.schemas.vocabulary import JobEvent

HEARTBEAT_S = 15.0
_IDLE_CHANNELS = 16


class Channel:
    """A job that is followed.

    Attributes:
        journal: Of the job, also after its end.
        followers: How many there are now.
    """

    def __init__(self, job: Job) -> None:
        self.journal = job.journal
        self.followers = 0
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._shown = 0
        self._showing: asyncio.Future[str] | None = None
        self.journal.listen(self._hear)

    def close(self) -> None:
        """Hear of no news any more."""
        self.journal.listen(None)

    @property
    def news(self) -> asyncio.Event:
        """Set when something has happened since it was asked for."""
        return self._news

    async def preview(self, entry: Entry[JobView]) -> str | None:
        """A preview as base64, made once for all followers; ``None`` if there is a newer one."""
        if entry.number < self._shown or entry.fact.preview is None:
            return None
        if entry.number > self._shown or self._showing is None:
            self._shown = entry.number
            work = asyncio.to_thread(png_text, entry.fact.preview)
            self._showing = asyncio.ensure_future(work)
        # Whoever leaves takes it from nobody else.
        return await asyncio.shield(self._showing)

    def _hear(self) -> None:
        # The loop has ended when the server has.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
        if self.journal.is_over:
            self._showing = None


class EventStreams:
    """Streams of the events of jobs.

    Args:
        responder: Knows addresses of pictures.
        heartbeat_s: After so long without an event a comment is sent, so that no proxy gives up.
    """

    def __init__(self, responder: Responder, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._responder = responder
        self._heartbeat_s = heartbeat_s
        self._channels: dict[str, Channel] = {}

    def channel(self, job_id: str, job: Job | None) -> Channel | None:
        """Where a job is followed; ``None`` if it has ended and was not followed lately.

        Args:
            job: The job while it has not ended.
        """
        known = self._channels.pop(job_id, None)
        if job is not None and (known is None or known.journal is not job.journal):
            known = Channel(job)
        if known is not None:
            # The one asked for last stands last.
            self._channels[job_id] = known
        return known

    def followers(self, job_id: str) -> int:
        """How many follow a job now."""
        channel = self._channels.get(job_id)
        return 0 if channel is None else channel.followers

    async def follow(
        self, channel: Channel, after: int, *, with_previews: bool
    ) -> AsyncIterator[bytes]:
        """Frames of the events after the one of that number, until the job has ended."""
        channel.followers += 1
        try:
            while True:
                news = channel.news
                if after and channel.journal.is_gone(after):
                    yield _error("events_gone", "some events are not kept any more")
                for entry in channel.journal.since(after):
                    after = entry.number
                    if frame := await self._frame(channel, entry, with_previews=with_previews):
                        yield frame
                    if entry.kind.is_last:
                        return
                try:
                    async with asyncio.timeout(self._heartbeat_s):
                        await news.wait()
                except TimeoutError:
                    yield KEEPALIVE_COMMENT
        finally:
            channel.followers -= 1
            self._forget_idle()

    async def tell_end(self, view: JobView, after: int) -> AsyncIterator[bytes]:
        """The last frame of a job that has ended and whose events are gone."""
        if after:
            yield _error("events_gone", "the events of this job are not kept any more")
        content = self._content(final_event(view), view)
        yield _frame(final_event(view), content, after + 1)

    def _forget_idle(self) -> None:
        idle = [job_id for job_id, one in self._channels.items() if not one.followers]
        for job_id in idle[:-_IDLE_CHANNELS]:
            self._channels.pop(job_id).close()

    async def _frame(
        self, channel: Channel, entry: Entry[JobView], *, with_previews: bool
    ) -> bytes | None:
        if entry.kind is not JobEvent.PREVIEW:
            return _frame(entry.kind, self._content(entry.kind, entry.fact), entry.number)
        shown = await channel.preview(entry) if with_previews else None
        return None if shown is None else _frame(entry.kind, {"image": shown}, entry.number)

    def _content(self, kind: JobEvent, view: JobView) -> dict[str, Any]:
        match kind:
            case JobEvent.PROGRESS:
                return {"progress": progress_of(view), "message": status_text(view)}
            case JobEvent.WARNING:
                return {"message": view.warnings[-1]}
            case JobEvent.IMAGE:
                image = view.images[-1]
                url = self._responder.storage.url(image.date, image.name)
                return {"index": len(view.images) - 1, "url": url, "seed": str(image.seed)}
            case JobEvent.ERROR:
                return {
                    "code": "server_stopping",
                    "message": "the server is stopping; the job goes on when it runs again",
                }
        return job_report(view, self._responder).model_dump(mode="json")


def read_last_id(text: str | None) -> int:
    """The value of ``Last-Event-ID``; 0, which is the start, for what is no number."""
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) < 19
    return int(text) if is_number and text is not None else 0


def _frame(kind: JobEvent, content: dict[str, Any], number: int | None = None) -> bytes:
    return format_sse_event(
        event=kind, data_str=json.dumps(content), id=None if number is None else str(number)
    )


def _error(code: str, message: str) -> bytes:
    return _frame(JobEvent.ERROR, {"code": code, "message": message})
