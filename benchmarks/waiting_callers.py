"""Are jobs looked after in time while 200 callers wait and a real job runs? Part of http_overhead.

Runs the server with the embedded model, so that a pipeline computes beside the answers.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import httpx

from benchmarks.results import report

TEXT_TO_IMAGE = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "256*256", "style_selections": [], "loras": []}
LONG = {**SMALL, "aspect_ratios_selection": "512*512", "image_number": 32, "async_process": True}
CALLERS, SAMPLES, STOPS = 200, 200, 100
LIMIT_MS = 50


async def measure_waiting(client: httpx.AsyncClient) -> None:
    """Print how long each route takes, idle and beside a running job with many callers behind it.

    Args:
        client: May open some more connections than there are callers.
    """
    job_id = (await client.post(TEXT_TO_IMAGE, json={**SMALL, "async_process": True})).json()[
        "job_id"
    ]
    query = {"job_id": job_id}
    await wait_for_stage(client, job_id, "SUCCESS")
    await look(client, "idle", query)
    await sample(client, "POST", "/v1/generation/stop", "idle", STOPS)
    long = (await client.post(TEXT_TO_IMAGE, json=LONG)).json()["job_id"]
    await wait_for_stage(client, long, "RUNNING")
    callers = [asyncio.create_task(client.post(TEXT_TO_IMAGE, json=SMALL)) for _ in range(CALLERS)]
    while (await client.get("/v1/generation/job-queue")).json()["running_size"] <= CALLERS:
        await asyncio.sleep(0.05)
    await look(client, "200 callers", {"job_id": long})
    # Last, because each one ends the running job and lets the next one begin.
    await sample(client, "POST", "/v1/generation/stop", "200 callers", STOPS)
    (await client.post("/v1/queue/clear")).raise_for_status()
    for answer in await asyncio.gather(*callers):
        answer.raise_for_status()


async def look(client: httpx.AsyncClient, when: str, query: dict[str, str]) -> None:
    """Sample what only reads."""
    await sample(client, "GET", "/ping", when, SAMPLES)
    await sample(client, "GET", "/v1/generation/query-job", when, SAMPLES, query)
    await sample(client, "GET", "/v1/generation/job-queue", when, SAMPLES)


async def sample(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    when: str,
    samples: int,
    query: dict[str, str] | None = None,
) -> None:
    """Print median and 99th percentile of one route, asked again and again."""
    times = []
    for _ in range(samples):
        began = time.perf_counter()
        (await client.request(method, path, params=query)).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.005)
    cuts = statistics.quantiles(times, n=100)
    report(f"{path}, {when}, median", cuts[49], "ms", samples=samples)
    report(f"{path}, {when}, p99", cuts[98], "ms", samples=samples, limit=LIMIT_MS)


async def wait_for_stage(client: httpx.AsyncClient, job_id: str, stage: str) -> None:
    """Return once a job stands there."""
    while True:
        answer = await client.get("/v1/generation/query-job", params={"job_id": job_id})
        if answer.json()["job_stage"] == stage:
            return
        await asyncio.sleep(0.05)
