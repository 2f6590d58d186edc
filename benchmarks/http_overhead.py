"""What does the service add to a job, and does it answer while many callers wait?

How many jobs can be accepted, each on disk before it is answered, and how long does the engine wait
between two jobs, also with a receiver of webhooks that hangs?

Runs the server with the fake engine as a process of its own, and then once more with the embedded
model, for what has to be answered while a pipeline computes in the same process.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from benchmarks.results import report
from benchmarks.waiting_callers import CALLERS, measure_waiting
from tests.fakes import STEPS
from tests.run_fake import PACE_S

ROOT = Path(__file__).resolve().parents[1]
URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "128*128", "style_selections": []}
JOBS = 50
WAITING_CALLERS = 60
PINGS = 200
SUBMITTED, CLIENTS = 80, 8
IN_A_ROW = 20
START_S = 30


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def wait_for(client: httpx.AsyncClient) -> None:
    """Return as soon as the server answers."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            (await client.get("/ping")).raise_for_status()
        except httpx.TransportError:
            await asyncio.sleep(0.05)
        else:
            return
    raise SystemExit("the server does not answer")


async def job_time(client: httpx.AsyncClient) -> None:
    """Print what the service adds to the time its engine takes."""
    began = time.perf_counter()
    for _ in range(JOBS):
        (await client.post(URL, json=SMALL)).raise_for_status()
    seconds = (time.perf_counter() - began) / JOBS
    report("added per job", (seconds - STEPS * PACE_S) * 1000, "ms", jobs=JOBS)


async def ping_times(client: httpx.AsyncClient, name: str, **settings: int) -> None:
    """Print median and 99th percentile of ``/ping``."""
    times = []
    for _ in range(PINGS):
        began = time.perf_counter()
        (await client.get("/ping")).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
    cuts = statistics.quantiles(times, n=100)
    report(f"{name}, median", cuts[49], "ms", pings=PINGS, **settings)
    report(f"{name}, p99", cuts[98], "ms", pings=PINGS, **settings)


async def acceptance(client: httpx.AsyncClient) -> None:
    """Print how many jobs are accepted per second while none is begun."""
    (await client.post("/v1/queue/pause")).raise_for_status()
    body = {**SMALL, "async_process": True}

    async def submit() -> None:
        for _ in range(SUBMITTED // CLIENTS):
            (await client.post(URL, json=body)).raise_for_status()

    began = time.perf_counter()
    await asyncio.gather(*(submit() for _ in range(CLIENTS)))
    seconds = time.perf_counter() - began
    report("accepted jobs", SUBMITTED / seconds, "1/s", clients=CLIENTS)
    (await client.post("/v1/queue/clear")).raise_for_status()
    (await client.post("/v1/queue/resume")).raise_for_status()


async def idle_time(client: httpx.AsyncClient, name: str, **fields: str) -> None:
    """Print how long the engine waits between two jobs, by the times in their records."""
    body = {**SMALL, **fields}
    await asyncio.gather(*(client.post(URL, json=body) for _ in range(IN_A_ROW)))
    page = (await client.get("/v1/generation/jobs", params={"limit": IN_A_ROW})).json()
    jobs = page["jobs"][::-1]
    waits = [
        (
            datetime.fromisoformat(after["started_at"])
            - datetime.fromisoformat(before["finished_at"])
        )
        / timedelta(milliseconds=1)
        for before, after in itertools.pairwise(jobs)
    ]
    report(f"{name}, median", statistics.median(waits), "ms", jobs=IN_A_ROW)
    report(f"{name}, most", max(waits), "ms", jobs=IN_A_ROW)


async def measure(url: str) -> None:
    """Measure idle and with callers that wait for their pictures."""
    limits = httpx.Limits(max_connections=WAITING_CALLERS + 10)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        await wait_for(client)
        await job_time(client)
        await acceptance(client)
        await idle_time(client, "idle between two jobs")
        # Takes connections and never answers.
        with socket.create_server(("127.0.0.1", 0), backlog=IN_A_ROW) as hanging:
            target = f"http://127.0.0.1:{hanging.getsockname()[1]}/"
            name = "idle between two jobs, hanging receiver"
            await idle_time(client, name, webhook_url=target)
        await ping_times(client, "/ping idle")
        callers = [
            asyncio.create_task(client.post(URL, json=SMALL)) for _ in range(WAITING_CALLERS)
        ]
        await asyncio.sleep(0.2)
        await ping_times(client, "/ping with waiting callers", callers=WAITING_CALLERS)
        for answer in await asyncio.gather(*callers):
            answer.raise_for_status()


async def measure_beside_a_pipeline(url: str) -> None:
    """Measure how soon jobs are looked after."""
    limits = httpx.Limits(max_connections=CALLERS + 10)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        await wait_for(client)
        await measure_waiting(client)


def measure_server(
    program: Sequence[str], measured: Callable[[str], Coroutine[Any, Any, None]]
) -> None:
    """Start a server, measure, stop it."""
    port = free_port()
    with tempfile.TemporaryDirectory() as outputs:
        command = [sys.executable, *program, "--port", str(port), "--queue-size", str(2 * CALLERS)]
        process = subprocess.Popen(
            [*command, "--output-path", outputs, "--log-level", "error"], cwd=ROOT
        )
        try:
            asyncio.run(measured(f"http://127.0.0.1:{port}"))
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    """Measure the service alone, and beside a pipeline."""
    measure_server(["-m", "tests.run_fake"], measure)
    measure_server(["main.py", "--preset", "tiny"], measure_beside_a_pipeline)


if __name__ == "__main__":
    main()
