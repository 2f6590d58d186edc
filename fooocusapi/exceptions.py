"""What can go wrong in the service. Knows no status codes; ``errors.py`` maps these to answers."""

from __future__ import annotations


class ServiceError(Exception):
    """Any failure of the service that has a known cause; ``str(error)`` may be shown."""


class InvalidFieldError(ServiceError):
    """A field of a request cannot be used.

    Args:
        location: Path of the field inside the body, e.g. ``("loras", 0, "weight")``.
        message: What is wrong and what is allowed.
        value: The refused value.
    """

    def __init__(self, location: tuple[str | int, ...], message: str, value: object = None) -> None:
        super().__init__(message)
        self.location = location
        self.value = value


class BodyTooLargeError(ServiceError):
    """A request body exceeds the configured size."""


class UnreadableBodyError(ServiceError):
    """A request body is not what its content type says."""


class UnsupportedEncodingError(ServiceError):
    """A request body is packed, which is not supported."""


class ForbiddenError(ServiceError):
    """The API key is missing or wrong, or not for what is asked."""


class ForeignPageError(ServiceError):
    """The request was sent by a page whose origin may not call."""


class RateLimitedError(ServiceError):
    """The caller has sent more requests than allowed."""


class QueueFullError(ServiceError):
    """No further job is accepted until one has ended."""


class ServerStoppingError(ServiceError):
    """The server is shutting down and accepts no further work."""


class JobKeptError(ServerStoppingError):
    """The server is shutting down before the job has ended; it goes on after the next start.

    Args:
        job_id: The job that a caller waited for.
    """

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the server is stopping; job {job_id} goes on when it runs again")
        self.job_id = job_id


class StoreError(ServiceError):
    """The job store, or the folder of its pictures, cannot be used."""


class StoredParamsError(ServiceError):
    """What a stored job asks for is not understood."""


class JobNotFoundError(ServiceError):
    """No job of that id is known."""


class JobNotFinishedError(ServiceError):
    """The job has not ended yet, so it cannot be removed."""


class JobFinishedError(ServiceError):
    """The job has ended already, so nothing can be changed about it."""


class JobNotRunningError(ServiceError):
    """The job does not run, so no picture of it can be skipped."""


class InputsGoneError(ServiceError):
    """The pictures that came with the request were removed, so it cannot be made again."""


class InvalidKeyError(ServiceError):
    """The header Idempotency-Key is malformed."""


class KeyReusedError(ServiceError):
    """The header Idempotency-Key was used with another request."""


class KeyInProgressError(ServiceError):
    """The first request with this Idempotency-Key is still being accepted."""


class HistoryEntryNotFoundError(ServiceError):
    """No job of that id is in the history."""


class DeliveryNotFoundError(ServiceError):
    """No delivery of a webhook has that id."""


class StoredFileNotFoundError(ServiceError):
    """No file of that name is served."""


class StorageError(ServiceError):
    """A picture could not be written, and nothing is left under its name; or not be removed."""


class ModelMissingError(ServiceError):
    """A file that the generation cannot do without is not there."""
