"""Tells receivers of ended jobs, on a thread of its own, so that a slow one delays nothing.

One attempt per job. Knows neither the queue nor who asked for the job.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from fooocusapi.addresses import is_public, may_be_told, pinned_request
from fooocusapi.jobs.job import JobView, SavedImage
from fooocusapi.schemas.vocabulary import FinishReason

_log = logging.getLogger(__name__)

_TIMEOUT_S = 15.0
_TYPES = {
    FinishReason.SUCCESS: "job.completed",
    FinishReason.USER_CANCEL: "job.canceled",
    FinishReason.ERROR: "job.failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One announcement on its way.

    Attributes:
        is_restricted: Only addresses that are routable everywhere may be told.
    """

    target: str
    body: dict[str, Any]
    is_restricted: bool


class Webhooks:
    """Sends one message per ended job to the job's own receiver or else to the common one.

    Args:
        common_target: Receiver of jobs without one of their own; never restricted.
        public_only: Receivers named by requests must have a globally routable address.
        url_of: Address of a finished picture.
        timeout_s: How long one attempt may take in all.
    """

    def __init__(
        self,
        common_target: str | None,
        *,
        public_only: bool,
        url_of: Callable[[SavedImage], str],
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._timeout_s = timeout_s
        self._common_target = common_target
        self._public_only = public_only
        self._url_of = url_of
        self._waiting: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="webhooks", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, limit_s: float) -> None:
        """Send what waits, for so many seconds at most."""
        self._waiting.put(None)
        self._thread.join(limit_s)

    def announce(self, view: JobView) -> None:
        """Have the end of a job announced, if anybody wants to know."""
        own = view.delivery.webhook
        target = own or self._common_target
        if target is not None:
            restricted = self._public_only and own is not None
            body = self._body(view)
            self._waiting.put(Message(target=target, body=body, is_restricted=restricted))

    def _body(self, view: JobView) -> dict[str, Any]:
        assert view.reason is not None, "only jobs that have ended are announced"
        images = [{"url": self._url_of(image), "seed": str(image.seed)} for image in view.images]
        failure = view.failure
        return {
            "job_id": view.id,
            "job_result": images,
            "type": "job.canceled" if view.is_cancelled else _TYPES[view.reason],
            "status": view.stage,
            "error": failure and {"code": failure.code, "message": failure.text},
            "timestamp": datetime.fromtimestamp(view.finished_ms / 1000, UTC).isoformat(),
        }

    def _work(self) -> None:
        while (message := self._waiting.get()) is not None:
            began = time.monotonic()
            try:
                status = asyncio.run(_send(message, self._timeout_s))
            except Exception as error:  # noqa: BLE001  (no message may keep the next from its way)
                reason = str(error) or type(error).__name__
                _log.warning("webhook of job %s: %s", message.body["job_id"], reason)
            else:
                passed = time.monotonic() - began
                _log.info("webhook of job %s: %d, %.1f s", message.body["job_id"], status, passed)


async def _send(message: Message, timeout_s: float) -> int:
    is_allowed = is_public if message.is_restricted else may_be_told
    # The limit of httpx counts anew with every byte, so it is not used.
    async with (
        asyncio.timeout(timeout_s),
        httpx.AsyncClient(timeout=None, trust_env=False) as client,
    ):
        request = httpx.Request("POST", message.target, json=message.body)
        request = await asyncio.to_thread(pinned_request, request, is_allowed=is_allowed)
        answer = await client.send(request, stream=True, follow_redirects=False)
        await answer.aclose()
    return answer.status_code
