"""Words that only the API uses; the public string is the value of each member."""

from __future__ import annotations

from enum import StrEnum


class JobKind(StrEnum):
    """What a job makes."""

    TEXT_TO_IMAGE = "Text to Image"
    UPSCALE_VARY = "Image Upscale or Variation"
    INPAINT_OUTPAINT = "Image Inpaint or Outpaint"
    IMAGE_PROMPT = "Image Prompt"
    ENHANCE = "Image Enhancement"
    NOT_FOUND = "Not Found"


class JobStage(StrEnum):
    """Where a job stands."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    ERROR = "ERROR"


class FinishReason(StrEnum):
    """How a result came about, or why there is none."""

    SUCCESS = "SUCCESS"
    QUEUE_IS_FULL = "QUEUE_IS_FULL"
    USER_CANCEL = "USER_CANCEL"
    ERROR = "ERROR"


class ErrorCode(StrEnum):
    """Why a job failed, for programs."""

    ENGINE_ERROR = "engine_error"
    OUT_OF_MEMORY = "out_of_memory"
    STORAGE_FULL = "storage_full"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_CORRUPT = "model_corrupt"
    DOWNLOAD_FAILED = "download_failed"
    INVALID_INPUT = "invalid_input"
    INPUTS_GONE = "inputs_gone"
    TIMEOUT = "timeout"
    DEVICE_FAILED = "device_failed"
    INTERRUPTED = "interrupted"
    POISONED = "poisoned"


class JobStatus(StrEnum):
    """Where a job stands, in the words of the additive routes."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


class JobEvent(StrEnum):
    """What happens to a job, as it is told to who follows it."""

    QUEUED = "queued"
    STARTED = "started"
    PROGRESS = "progress"
    PREVIEW = "preview"
    IMAGE = "image"
    WARNING = "warning"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    ERROR = "error"

    @property
    def is_last(self) -> bool:
        """Whether nothing follows."""
        return self in (JobEvent.COMPLETED, JobEvent.FAILED, JobEvent.CANCELED, JobEvent.ERROR)


class WebhookEvent(StrEnum):
    """What a receiver of webhooks can be told of."""

    START = "start"
    OUTPUT = "output"
    COMPLETED = "completed"


class MessageType(StrEnum):
    """What has happened to a job, as receivers of webhooks are told."""

    STARTED = "job.started"
    IMAGE = "job.image"
    COMPLETED = "job.completed"
    FAILED = "job.failed"
    CANCELED = "job.canceled"


class DeliveryStatus(StrEnum):
    """Whether a receiver was told."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class HealthStatus(StrEnum):
    """What the server is doing, in one word."""

    READY = "ready"
    STARTING = "starting"
    BUSY = "busy"
    DRAINING = "draining"
    FAILED = "failed"


class SaveExtension(StrEnum):
    """File endings a picture can be saved with."""

    PNG = "png"
    JPG = "jpg"
    JPEG = "jpeg"
    WEBP = "webp"


class MetaScheme(StrEnum):
    """Names of the metadata schemes; the last two mean the same one."""

    FOOOCUS = "fooocus"
    A111 = "a111"
    A1111 = "a1111"


PLACEHOLDERS = frozenset({"", "None", "none", "null", "string"})
"""Texts that clients send where they mean that nothing is given."""
