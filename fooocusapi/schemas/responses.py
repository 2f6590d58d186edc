"""Bodies of the answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from fooocus_core.choices import MetadataScheme
from fooocusapi.schemas.vocabulary import FinishReason, HealthStatus, JobKind, JobStage


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


class JobHistory(BaseModel):
    """Unfinished jobs in order, and finished ones."""

    queue: list[HistoryEntry]
    history: list[HistoryEntry]


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
