"""Streams of events: who reads slowly, and who waits long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from fooocus_core.events import Preview, Progress
from fooocusapi.job_events import EventStreams
from fooocusapi.jobs.journal import CAPACITY
from fooocusapi.respond import Responder
from fooocusapi.schemas.vocabulary import FinishReason
from fooocusapi.storage import Storage
from tests.events import Frame, read_frames
from tests.jobs import make_job

LONG_S = 60.0
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def make_streams(heartbeat_s: float = LONG_S) -> EventStreams:
    storage = Storage(Path("nowhere"), "http://x", date.today)
    return EventStreams(Responder(storage=storage, plain_base64=False), heartbeat_s=heartbeat_s)


async def next_frame(stream: AsyncIterator[bytes]) -> Frame:
    (frame,) = read_frames((await anext(stream)).decode())
    return frame


async def test_silence_is_filled_with_comments() -> None:
    streams, job = make_streams(heartbeat_s=0.01), make_job()
    channel = streams.channel(job.id, job)
    assert channel is not None
    stream = streams.follow(channel, 0, with_previews=True)
    assert (await next_frame(stream)).event == "queued"
    assert await anext(stream) == await anext(stream) == b": ping\n\n"
    await stream.aclose()  # type: ignore[attr-defined]


async def test_who_reads_too_slowly_is_told_that_events_are_gone() -> None:
    streams, job = make_streams(), make_job()
    channel = streams.channel(job.id, job)
    assert channel is not None
    stream = streams.follow(channel, 0, with_previews=True)
    assert (await next_frame(stream)).id == 1
    job.start(2)
    for percent in range(CAPACITY + 10):
        job.record(Progress(percent=percent % 100, text="x"))
    gone = await next_frame(stream)
    assert (gone.event, gone.id, gone.data["code"]) == ("error", None, "events_gone")
    assert (await next_frame(stream)).id == 13


async def test_a_preview_is_encoded_once_for_all_and_an_old_one_left_out() -> None:
    streams, job = make_streams(), make_job()
    channel = streams.channel(job.id, job)
    assert channel is not None
    job.start(2)
    job.record(Preview(image=np.zeros((8, 8, 3), np.uint8)))
    (entry,) = channel.journal.since(2)
    first, second = await asyncio.gather(channel.preview(entry), channel.preview(entry))
    assert first is second
    job.record(Preview(image=np.ones((8, 8, 3), np.uint8)))
    (newer,) = channel.journal.since(3)
    assert await channel.preview(newer) != first
    assert await channel.preview(entry) is None


async def test_a_server_that_stops_ends_the_stream_of_what_it_keeps() -> None:
    streams, job = make_streams(), make_job()
    channel = streams.channel(job.id, job)
    assert channel is not None
    job.keep()
    found = [frame async for frame in streams.follow(channel, 0, with_previews=True)]
    frames = read_frames(b"".join(found).decode())
    assert [frame.event for frame in frames] == ["queued", "error"]
    assert frames[-1].data["code"] == "server_stopping"


async def test_channels_of_jobs_that_nobody_follows_any_more_are_few() -> None:
    streams = make_streams()
    jobs = [make_job() for _ in range(50)]
    for job in jobs:
        job.start(2)
        final = job.decide(FinishReason.SUCCESS, None, 3)
        assert final is not None
        job.finish(final)
        channel = streams.channel(job.id, job)
        assert channel is not None
        async for _ in streams.follow(channel, 0, with_previews=True):
            pass
    known = [streams.channel(job.id, None) is not None for job in jobs]
    assert known == [False] * 34 + [True] * 16
