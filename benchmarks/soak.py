"""Does the server stay as it is over 10 000 jobs of mixed kinds by 8 clients?

Runs the server with the fake engine as a process of its own, and prints how its memory grows per
1000 jobs after the first 1000, its descriptors and threads, and whether any job was lost.
``--jobs N`` makes fewer.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from benchmarks.http_overhead import free_port, wait_for
from benchmarks.results import report

ROOT = Path(__file__).resolve().parents[1]
URL = "/v1/generation/text-to-image"
VARY = "/v2/generation/image-upscale-vary"
JOBS = "/v1/generation/jobs"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": []}
CLIENTS = 8
WARM_UP, EVERY = 1000, 250
TIMEOUT_S = 120
FINAL = ("succeeded", "failed", "canceled")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The server's process after so many jobs; memory in KiB."""

    jobs: int
    memory: int
    descriptors: int
    threads: int


@dataclass
class Soak:
    """Makes jobs and watches the process that serves them."""

    client: httpx.AsyncClient
    process: int
    jobs: int
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    submitted: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)

    async def work(self) -> None:
        """One client: a job of the next kind, until there were enough."""
        kinds = (self.wait, self.poll, self.fetch, self.follow, self.vary, self.fail, self.cancel)
        while (number := next(self.numbers)) < self.jobs:
            await kinds[number % len(kinds)]()
            if number % EVERY == 0:
                await self.sample(number)

    async def sample(self, number: int) -> None:
        """Note how the process is, and how quickly it answers."""
        began = time.perf_counter()
        (await self.client.get("/ping")).raise_for_status()
        self.pings.append((time.perf_counter() - began) * 1000)
        place = Path(f"/proc/{self.process}")
        status = (place / "status").read_text(encoding="utf-8")
        found = Sample(
            jobs=number,
            memory=int(status.partition("VmRSS:")[2].split()[0]),
            descriptors=len(list((place / "fd").iterdir())),
            threads=int(status.partition("Threads:")[2].split()[0]),
        )
        self.samples.append(found)

    async def ask(self, path: str = URL, **fields: Any) -> httpx.Response:
        """Have a job made."""
        answer = await self.client.post(path, json={**SMALL, **fields})
        answer.raise_for_status()
        body = answer.json()
        job_id = body["job_id"] if isinstance(body, dict) else answer.headers["X-Fooocus-Job-Id"]
        self.submitted.append(job_id)
        return answer

    async def wait(self) -> None:
        """A caller who waits for two pictures."""
        await self.ask(image_number=2, require_base64=True)

    async def poll(self) -> None:
        """A caller who asks until the job has ended."""
        await self.wait_for_end((await self.ask(async_process=True)).json()["job_id"])

    async def fetch(self) -> None:
        """A caller who fetches the picture."""
        (item,) = (await self.ask()).json()
        (await self.client.get(item["url"])).raise_for_status()

    async def follow(self) -> None:
        """A caller who follows the events."""
        job_id = (await self.ask(async_process=True)).json()["job_id"]
        answer = await self.client.get(f"{JOBS}/{job_id}/events")
        if "event: completed" not in answer.text:
            raise SystemExit(f"no end in the events of {job_id}")

    async def vary(self) -> None:
        """A caller who sends a picture."""
        await self.ask(VARY, input_image=picture(), uov_method="Vary (Subtle)")

    async def fail(self) -> None:
        """A job that fails."""
        await self.ask(prompt="odd")

    async def cancel(self) -> None:
        """A job that is cancelled at once."""
        job_id = (await self.ask(async_process=True)).json()["job_id"]
        await self.client.post(f"{JOBS}/{job_id}/cancel")
        await self.wait_for_end(job_id)

    async def wait_for_end(self, job_id: str) -> None:
        """Ask until the job has ended."""
        while (await self.client.get(f"{JOBS}/{job_id}")).json()["finished_at"] is None:
            await asyncio.sleep(0.01)

    async def count_ends(self) -> Counter[str]:
        """How many jobs the server knows, by status."""
        found: Counter[str] = Counter()
        cursor: dict[str, str] = {}
        while True:
            page = (await self.client.get(JOBS, params={"limit": 500, **cursor})).json()
            found.update(job["status"] for job in page["jobs"])
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}


def picture() -> str:
    """A small picture as base64."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def tell(soak: Soak, ends: Counter[str], seconds: float) -> None:
    """Print the results."""
    samples = [sample for sample in soak.samples if sample.jobs >= WARM_UP]
    settings = {"jobs": soak.jobs, "clients": CLIENTS}
    if len(samples) > 1:
        places = [sample.jobs / 1000 for sample in samples]
        memory = [sample.memory / 1024 for sample in samples]
        slope = statistics.linear_regression(places, memory).slope
        report("memory per 1000 jobs", slope, "MiB", **settings)
    for name in ("descriptors", "threads"):
        counts = [getattr(sample, name) for sample in samples or soak.samples]
        report(f"{name}, fewest", min(counts), "", **settings)
        report(f"{name}, most", max(counts), "", **settings)
    report("/ping, most", max(soak.pings), "ms", pings=len(soak.pings))
    report("jobs", soak.jobs / seconds, "1/s", **settings, **ends)
    lost = len(set(soak.submitted)) - sum(ends[status] for status in FINAL)
    report("jobs lost", lost, "", **settings)


async def measure(url: str, process: int, jobs: int) -> None:
    """Make the jobs and print what became of the server."""
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as client:
        await wait_for(client)
        soak = Soak(client=client, process=process, jobs=jobs)
        began = time.perf_counter()
        await asyncio.gather(*(soak.work() for _ in range(CLIENTS)))
        seconds = time.perf_counter() - began
        await soak.sample(jobs)
        tell(soak, await soak.count_ends(), seconds)


def main() -> None:
    """Start a server, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    jobs = parser.parse_args().jobs
    port = free_port()
    with tempfile.TemporaryDirectory() as outputs:
        command = [sys.executable, "-m", "tests.run_fake", "--port", str(port)]
        process = subprocess.Popen(
            [*command, "--output-path", outputs, "--log-level", "critical"],
            cwd=ROOT,
            env={**os.environ, "FAKE_PACE": "0"},
        )
        try:
            asyncio.run(measure(f"http://127.0.0.1:{port}", process.pid, jobs))
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
