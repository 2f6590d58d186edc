"""Bodies of the answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from fooocus_core.choices import MetadataScheme
from fooocusapi.schemas.vocabulary import (
    DeliveryStatus,
    ErrorCode,
    FinishReason,
    HealthStatus,
    JobKind,
    JobStage,
    JobStatus,
    MessageType,
)


class ResultItem(BaseModel):
    """One picture of a job, or the reason why there is none."""

    base64: str | None
    url: str | None
    seed: str = Field(description="Decimal digits; text because it may exceed 2^53.")
    finish_reason: FinishReason


class JobObject(BaseModel):
    """Where a job stands."""

    job_id: str
    job_type: JobKind
    job_stage: JobStage
    job_progress: Annotated[int, Field(ge=0, le=100)]
    job_status: str | None
    job_step_preview: str | None = Field(description="Base64 of a PNG, without `data:` prefix.")
    job_result: list[ResultItem] | None


class QueueSizes(BaseModel):
    """How much is waiting and done."""

    running_size: int = Field(description="Running and waiting jobs.")
    finished_size: int = Field(description="Jobs in the history.")
    last_job_id: str | None


class HistoryEntry(BaseModel):
    """When a job came, started and ended; milliseconds since the epoch, 0 = not yet."""

    job_id: str
    is_finished: bool
    in_queue_mills: int
    start_mills: int
    finish_mills: int


class TaskRecord(BaseModel):
    """An ended job in the words that clients of the older servers read."""

    task_id: str
    task_type: JobKind
    task_in_queue_mills: int
    task_start_mills: int
    task_finish_mills: int
    result_url: str = Field(description="Addresses of the pictures, joined by commas.")
    finish_reason: FinishReason
    date_time: str = Field(description="When it ended, local time, `YYYY-MM-DD HH:MM:SS`.")


class StoredHistoryEntry(HistoryEntry):
    """An ended job with what was asked for; only with `--persistent`."""

    params: dict[str, Any] = Field(description="The request; digests stand for its pictures.")
    task_info: TaskRecord


class JobHistory(BaseModel):
    """Unfinished jobs in order, and finished ones."""

    queue: list[HistoryEntry]
    history: list[StoredHistoryEntry | HistoryEntry]


class JobPicture(BaseModel):
    """A finished picture of a job."""

    url: str
    seed: str = Field(description="Decimal digits; text because it may exceed 2^53.")


class JobError(BaseModel):
    """Why a job failed."""

    code: ErrorCode
    message: str


class JobReport(BaseModel):
    """A job as the additive routes tell of it."""

    id: str
    type: JobKind
    status: JobStatus
    progress: Annotated[int, Field(ge=0, le=100)]
    message: str | None = Field(description="What it is doing, or how it ended.")
    attempt: int = Field(description="Number of its last run; more than 1 after a crash.")
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    images: list[JobPicture]
    warnings: list[str]
    error: JobError | None


class JobPage(BaseModel):
    """Some jobs, the newest first."""

    jobs: list[JobReport]
    next_cursor: str | None = Field(description="Where the next page begins; null: nowhere.")


class DeliveryReport(BaseModel):
    """What one receiver of webhooks is to be told, and what became of it."""

    id: str = Field(description="The `webhook-id`, the same over all attempts.")
    job_id: str
    type: MessageType
    status: DeliveryStatus
    url: str | None = Field(description="Null: who is told of every job (`--webhook-url`).")
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    last_status: int | None = Field(description="Status of the receiver's last answer.")
    last_error: str | None


class DeliveryPage(BaseModel):
    """Some deliveries, the newest first."""

    deliveries: list[DeliveryReport]
    next_cursor: str | None = Field(description="Where the next page begins; null: nowhere.")


class QueueReport(BaseModel):
    """What was done to the queue."""

    is_paused: bool
    canceled: int = Field(default=0, description="Waiting jobs that were cancelled just now.")


class ModelLists(BaseModel):
    """Model files on disk, as requests name them."""

    model_filenames: list[str]
    lora_filenames: list[str]


class StopAnswer(BaseModel):
    """The answer of stop."""

    msg: str


class Message(BaseModel):
    """A short confirmation."""

    message: str


class EventsToken(BaseModel):
    """What a browser follows a job with."""

    token: str
    expires_in: int = Field(description="Seconds.")


class HealthReport(BaseModel):
    """Whether the server lives."""

    status: HealthStatus
    version: str
    checks: dict[str, bool] = Field(description="What was looked at, and whether it is well.")


class PictureMetadata(BaseModel):
    """What a picture says about how it was made."""

    scheme: MetadataScheme
    parameters: dict[str, Any] = Field(
        description="The body of a text-to-image request that gives this one picture again."
    )


class Description(BaseModel):
    """What a picture shows, in words."""

    describe: str
