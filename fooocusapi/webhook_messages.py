"""Job -> what its receiver is told. Knows neither how that is kept nor how it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from fooocusapi.jobs.clock import Clock
from fooocusapi.jobs.job import JobView, SavedImage
from fooocusapi.jobs.outbox import Message, new_message_id
from fooocusapi.schemas.vocabulary import FinishReason, MessageType, WebhookEvent

_ENDS = {
    FinishReason.SUCCESS: MessageType.COMPLETED,
    FinishReason.USER_CANCEL: MessageType.CANCELED,
    FinishReason.ERROR: MessageType.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageWriter:
    """Writes messages.

    Attributes:
        has_common_target: Whether somebody is told of jobs that name nobody.
        url_of: Address of a finished picture.
        clock: Time for the records.
    """

    has_common_target: bool
    url_of: Callable[[SavedImage], str]
    clock: Clock

    def messages(self, view: JobView, event: WebhookEvent) -> tuple[Message, ...]:
        """What is to be told of this; nothing if nobody wants to know."""
        if not self.wants(view, event):
            return ()
        now_ms = self.clock()
        kind = _type_of(view, event)
        message = Message(
            id=new_message_id(),
            job_id=view.id,
            type=kind,
            target=view.delivery.webhook,
            body=self._body(view, kind, now_ms),
            made_ms=now_ms,
            due_ms=now_ms,
        )
        return (message,)

    def wants(self, view: JobView, event: WebhookEvent) -> bool:
        """Whether anybody wants to know of this."""
        has_target = self.has_common_target or view.delivery.webhook is not None
        return has_target and event in view.delivery.webhook_events

    def _body(self, view: JobView, kind: MessageType, now_ms: int) -> str:
        failure = view.failure
        # The first two are the older contract, to the letter.
        content = {
            "job_id": view.id,
            "job_result": [
                {"url": self.url_of(image), "seed": str(image.seed)} for image in view.images
            ],
            "type": kind,
            "status": view.stage,
            "error": failure and {"code": failure.code, "message": failure.text},
            "timestamp": datetime.fromtimestamp(
                (view.finished_ms or now_ms) / 1000, UTC
            ).isoformat(),
        }
        return json.dumps(content)


def _type_of(view: JobView, event: WebhookEvent) -> MessageType:
    match event:
        case WebhookEvent.START:
            return MessageType.STARTED
        case WebhookEvent.OUTPUT:
            return MessageType.IMAGE
    assert view.reason is not None, "only jobs that have ended are announced"
    return MessageType.CANCELED if view.is_cancelled else _ENDS[view.reason]
