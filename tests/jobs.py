"""Jobs for tests, and a store for them that forgets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fooocus_core.params import CanvasParams, GenerationParams, ModelParams
from fooocusapi.exceptions import StoreError
from fooocusapi.jobs.database import embedded_url, open_database
from fooocusapi.jobs.job import Delivery, Job, JobView, StoredRequest, new_job_id
from fooocusapi.jobs.params_json import encode_params
from fooocusapi.jobs.store import JobStore, KeyUse
from fooocusapi.schemas.vocabulary import JobKind


class MemoryStore:
    """What the queue stores, by job id.

    Attributes:
        failure: Raised by every call.
    """

    def __init__(self) -> None:
        self.views: dict[str, JobView] = {}
        self.failure: StoreError | None = None

    def accept(self, view: JobView, stored: StoredRequest, key: KeyUse | None = None) -> None:
        del stored, key
        self.save(view)

    def start(self, view: JobView) -> None:
        self.save(view)

    def note_cancel(self, job_id: str) -> None:
        if not self.views[job_id].is_finished:
            self.save(replace(self.views[job_id], is_cancelled=True))

    def save(self, view: JobView) -> None:
        if self.failure is not None:
            raise self.failure
        self.views[view.id] = view

    def unfinished(self) -> list[JobView]:
        return [view for view in self.views.values() if not view.is_finished]


def open_store(folder: Path) -> JobStore:
    """The job store of an output folder."""
    return JobStore(open_database(embedded_url(folder)))


def make_view(**changes: Any) -> JobView:
    """A job that was just accepted, but for what is stated."""
    values: dict[str, Any] = {
        "id": new_job_id(),
        "kind": JobKind.TEXT_TO_IMAGE,
        "delivery": Delivery(),
        "seed": 0,
        "queued_ms": 1,
        **changes,
    }
    return JobView(**values)


def make_stored(*, seed: int = 0, count: int = 1) -> StoredRequest:
    """A request for plain pictures."""
    canvas = CanvasParams(seed=seed, count=count)
    params = GenerationParams(models=ModelParams(base="x"), canvas=canvas)
    return StoredRequest(request=json.dumps({"prompt": "x"}), params=encode_params(params).text)


def make_job(*, seed: int = 0, count: int = 1, **changes: Any) -> Job:
    """A job that waits for its turn."""
    return Job(make_view(seed=seed, **changes), make_stored(seed=seed, count=count))
