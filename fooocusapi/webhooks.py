"""Tells receivers of ended jobs, on a thread of its own, so that a slow one delays nothing.

One attempt per job. Knows neither the queue nor who asked for the job.
"""

from __future__ import annotations

import ipaddress
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

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
    """

    def __init__(
        self, common_target: str | None, *, public_only: bool, url_of: Callable[[SavedImage], str]
    ) -> None:
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
        failed = view.reason is FinishReason.ERROR
        return {
            "job_id": view.id,
            "job_result": images,
            "type": _TYPES[view.reason],
            "status": view.stage,
            "error": {"code": "engine_error", "message": view.error} if failed else None,
            "timestamp": datetime.fromtimestamp(view.finished_ms / 1000, UTC).isoformat(),
        }

    def _work(self) -> None:
        while (message := self._waiting.get()) is not None:
            began = time.monotonic()
            try:
                status = _send(message)
            except (OSError, ValueError, httpx.HTTPError) as error:
                _log.warning("webhook of job %s: %s", message.body["job_id"], error)
            else:
                passed = time.monotonic() - began
                _log.info("webhook of job %s: %d, %.1f s", message.body["job_id"], status, passed)


def _send(message: Message) -> int:
    url = httpx.URL(message.target)
    address = _checked_address(url, public_only=message.is_restricted)
    # Connecting to the very address that was checked, under the name that was asked for.
    request = httpx.Request(
        "POST",
        url.copy_with(host=address),
        json=message.body,
        headers={"Host": url.netloc.decode("ascii").rpartition("@")[2]},
        extensions={"sni_hostname": url.host},
    )
    with httpx.Client(timeout=_TIMEOUT_S, trust_env=False) as client:
        answer = client.send(request, stream=True, follow_redirects=False)
        answer.close()
    return answer.status_code


def _checked_address(url: httpx.URL, *, public_only: bool) -> str:
    """An address of the receiver.

    Raises:
        ValueError: One of its addresses must not be told.
        OSError: It has none.
    """
    port = url.port or (443 if url.scheme == "https" else 80)
    found = socket.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    for text in addresses:
        if not _may_be_told(text, public_only=public_only):
            raise ValueError(f"the address of {url.host} is not one that webhooks may go to")
    return addresses[0]


def _may_be_told(text: str, *, public_only: bool) -> bool:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    return address.is_global or not public_only
