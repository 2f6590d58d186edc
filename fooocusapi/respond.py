"""Job -> answer: job object, list of results, or the bytes of a picture.

The only file that knows the wire form of progress and results.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fastapi import Response
from fastapi.responses import JSONResponse, PlainTextResponse
from PIL import Image as PillowImage

from fooocus_core.events import SamplingStep
from fooocus_core.params import Image
from fooocusapi.exceptions import StoredFileNotFoundError
from fooocusapi.jobs.job import JobView, SavedImage
from fooocusapi.jobs.queue import QueueView
from fooocusapi.schemas.responses import (
    JobObject,
    QueueSizes,
    ResultItem,
)
from fooocusapi.schemas.vocabulary import FinishReason, JobKind, JobStage
from fooocusapi.storage import Storage, convert, media_type_of

_MAX_WARNING, _MAX_ERROR = 2000, 500
_SAMPLING_FROM, _SAMPLING_SPAN = 15, 85


class AnswerForm(StrEnum):
    """The forms in which a generation answers."""

    JOB = "job object"
    ACCEPTED = "job object, as an answer before the end"
    LIST = "list of results"
    PNG = "image/png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Responder:
    """Makes answers out of jobs.

    Attributes:
        plain_base64: Leave the ``data:`` prefix out of base64 results.
    """

    storage: Storage
    plain_base64: bool

    def result(self, view: JobView, form: AnswerForm) -> Response:
        """The answer to the caller that asked for the job.

        Reads pictures from disk where the form needs their bytes.
        """
        if form is AnswerForm.JOB:
            job = self.job_object(view, with_preview=False)
            return _json(job, _headers(view, job.job_result))
        if form is AnswerForm.ACCEPTED:
            job = self.job_object(view, with_preview=False)
            return _json(job, {**_headers(view, job.job_result), **place_header(view.id)}, 202)
        if form is AnswerForm.LIST:
            items = self._items(view)
            content = [item.model_dump() for item in items]
            return JSONResponse(content, headers=_headers(view, items))
        headers = _headers(view)
        if view.images:
            return Response(self._png(view.images[0]), media_type="image/png", headers=headers)
        status = 400 if view.reason is FinishReason.USER_CANCEL else 500
        return PlainTextResponse(str(view.reason), status_code=status, headers=headers)

    def job_object(self, view: JobView, *, with_preview: bool) -> JobObject:
        """Where a job stands, in the words of the wire."""
        return JobObject(
            job_id=view.id,
            job_type=view.kind,
            job_stage=view.stage,
            job_progress=progress_of(view),
            job_status=status_text(view),
            job_step_preview=_preview(view.preview) if with_preview else None,
            job_result=self._items(view) if view.is_finished else None,
        )

    def _items(self, view: JobView) -> list[ResultItem]:
        items = [self._item(image, with_base64=view.delivery.base64) for image in view.images]
        if view.reason in (FinishReason.ERROR, FinishReason.USER_CANCEL):
            items.append(_failed_item(view.reason, str(view.seed)))
        return items

    def _item(self, image: SavedImage, *, with_base64: bool) -> ResultItem:
        return ResultItem(
            base64=self._base64(image) if with_base64 else None,
            url=self.storage.url(image.date, image.name),
            seed=str(image.seed),
            finish_reason=FinishReason.SUCCESS,
        )

    def _base64(self, image: SavedImage) -> str | None:
        try:
            content = self.storage.read(image.date, image.name)
        except StoredFileNotFoundError:
            return None
        prefix = "" if self.plain_base64 else f"data:{media_type_of(image.name)};base64,"
        return prefix + base64.b64encode(content).decode("ascii")

    def _png(self, image: SavedImage) -> bytes:
        stored = self.storage.find(image.date, image.name)
        if stored.media_type == "image/png":
            return stored.path.read_bytes()
        return convert(stored.path, "image/png")


def queue_full(kind: JobKind, form: AnswerForm) -> Response:
    """The answer of a generation that was refused because the queue is full."""
    items = [_failed_item(FinishReason.QUEUE_IS_FULL, "")]
    if form is AnswerForm.PNG:
        return PlainTextResponse(FinishReason.QUEUE_IS_FULL, status_code=409)
    if form is AnswerForm.LIST:
        return JSONResponse([item.model_dump() for item in items])
    refused = JobObject(
        job_id="",
        job_type=kind,
        job_stage=JobStage.ERROR,
        job_progress=0,
        job_status=None,
        job_step_preview=None,
        job_result=items,
    )
    return _json(refused, {})


def unknown_job() -> JobObject:
    """The object that stands for a job nobody knows."""
    return JobObject(
        job_id="",
        job_type=JobKind.NOT_FOUND,
        job_stage=JobStage.ERROR,
        job_progress=0,
        job_status="Job not found",
        job_step_preview=None,
        job_result=None,
    )


def queue_sizes(view: QueueView) -> QueueSizes:
    """How much is waiting and done."""
    return QueueSizes(
        running_size=len(view.unfinished),
        finished_size=len(view.finished),
        last_job_id=view.last_id,
    )


def place_header(job_id: str) -> dict[str, str]:
    """The header that says where a job is told of."""
    return {"Location": f"/v1/generation/jobs/{job_id}"}


def header_text(text: str, limit: int) -> str:
    """One line that may stand in a header: Latin-1, no control characters, at most ``limit``."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return printable.encode("latin-1", "replace").decode("latin-1")[:limit].strip()


def warning_header(warnings: Sequence[str]) -> dict[str, str]:
    """The header that tells a caller what was tolerated; none if nothing was."""
    if not warnings:
        return {}
    return {"X-Fooocus-Warning": header_text("; ".join(warnings), _MAX_WARNING)}


def warnings_of(view: JobView, items: Sequence[ResultItem] | None) -> list[str]:
    """What the caller should know about a job and about the results being sent."""
    removed = [
        f"picture {number} was removed from the server, so its base64 is null"
        for number, item in enumerate(items or (), 1)
        if view.delivery.base64 and item.url is not None and item.base64 is None
    ]
    return [*view.warnings, *removed]


def _headers(view: JobView, items: Sequence[ResultItem] | None = None) -> dict[str, str]:
    headers = {"X-Fooocus-Job-Id": view.id}
    headers.update(warning_header(warnings_of(view, items)))
    if view.reason is FinishReason.ERROR:
        headers["X-Fooocus-Error"] = header_text(_error(view), _MAX_ERROR)
    return headers


def _json(body: JobObject, headers: dict[str, str], status: int = 200) -> Response:
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)


def _failed_item(reason: FinishReason, seed: str) -> ResultItem:
    return ResultItem(base64=None, url=None, seed=seed, finish_reason=reason)


def progress_of(view: JobView) -> int:
    """How far a job is, 0-100."""
    if view.stage is JobStage.SUCCESS:
        return 100
    sampled = _sampling_percent(view.furthest) if view.furthest else 0
    return min(max(sampled, view.percent), 100)


def _sampling_percent(step: SamplingStep) -> int:
    done = step.image * step.steps + step.step
    return int(_SAMPLING_FROM + _SAMPLING_SPAN * done / (step.steps * step.images))


def status_text(view: JobView) -> str | None:
    """What a job is doing, or how it ended, in a few words."""
    if view.stage is JobStage.SUCCESS:
        return "Finished"
    if view.stage is JobStage.ERROR:
        cancelled = view.reason is FinishReason.USER_CANCEL
        return "User cancelled" if cancelled else f"Failed: {_error(view)}"
    if view.progress is None:
        return None
    if (step := view.progress.sampling) is not None:
        return f"Step {step.step}/{step.steps} in the {step.image + 1}-th Sampling"
    return view.progress.text


def _error(view: JobView) -> str:
    return "unknown" if view.failure is None else view.failure.text


def _preview(image: Image | None) -> str | None:
    return None if image is None else png_text(image)


def png_text(image: Image) -> str:
    """A picture, (H, W) or (H, W, 3), as base64 of a PNG, without ``data:`` prefix."""
    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
