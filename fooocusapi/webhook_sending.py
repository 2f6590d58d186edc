"""One attempt to tell one receiver something. Knows neither when nor how often."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from fooocusapi.addresses import is_public, may_be_told, pinned_request
from fooocusapi.jobs.outbox import Message
from fooocusapi.webhook_signing import signed_headers

_GONE = 410
_SLOW_DOWN = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Who is told.

    Attributes:
        is_restricted: Only if its address is routable everywhere.
        secrets: What messages are signed with.
        timeout_s: How long one attempt may take in all.
    """

    url: str
    is_restricted: bool
    secrets: tuple[bytes, ...]
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an attempt.

    Attributes:
        status: Of the answer; ``None`` = there was none.
        problem: Why the message was not taken, in one line.
        is_final: Another attempt would end as this one did.
        retry_after_s: So long the receiver wants to be left alone.
    """

    status: int | None = None
    problem: str | None = None
    is_final: bool = False
    retry_after_s: float = 0.0

    @property
    def is_taken(self) -> bool:
        """Whether the receiver has the message."""
        return self.problem is None


async def send(
    message: Message, receiver: Receiver | None, tls: ssl.SSLContext, time_s: int
) -> Outcome:
    """Try once.

    Args:
        receiver: ``None`` = there is nobody any more.
        tls: What certificates are judged by.
        time_s: Now, in seconds since the epoch.
    """
    if receiver is None:
        return Outcome(problem="no --webhook-url is set any more", is_final=True)
    try:
        # The limit of httpx counts anew with every byte, so it is not used.
        async with asyncio.timeout(receiver.timeout_s):
            return await _post(message, receiver, tls, time_s)
    except TimeoutError:
        return Outcome(problem=f"no answer within {receiver.timeout_s:g} s")
    except (ValueError, httpx.InvalidURL) as error:
        # No address, or one that may not be contacted.
        return Outcome(problem=_reason(error), is_final=True)
    except Exception as error:  # noqa: BLE001  (no message may keep the next from its way)
        return Outcome(problem=_reason(error))


async def _post(message: Message, receiver: Receiver, tls: ssl.SSLContext, time_s: int) -> Outcome:
    content = {**json.loads(message.body), "attempt": message.attempts + 1}
    body = json.dumps(content).encode()
    headers = {
        "content-type": "application/json",
        **signed_headers(receiver.secrets, message_id=message.id, time_s=time_s, body=body),
    }
    request = httpx.Request("POST", receiver.url, content=body, headers=headers)
    is_allowed = is_public if receiver.is_restricted else may_be_told
    request = await asyncio.to_thread(pinned_request, request, is_allowed=is_allowed)
    # One client an attempt: it would keep cookies, and connections under the address alone.
    async with httpx.AsyncClient(timeout=None, trust_env=False, verify=tls) as client:
        answer = await client.send(request, stream=True, follow_redirects=False)
        # Of the answer only this counts, so its body is not read.
        await answer.aclose()
    return _outcome(answer)


def _outcome(answer: httpx.Response) -> Outcome:
    status = answer.status_code
    if answer.is_success:
        return Outcome(status=status)
    retry_after = answer.headers.get("retry-after", "") if status in _SLOW_DOWN else ""
    return Outcome(
        status=status,
        problem=f"the receiver answered {status}",
        is_final=status == _GONE,
        retry_after_s=_read_retry_after(retry_after),
    )


def _read_retry_after(text: str) -> float:
    """Seconds, from a number of them or a date; 0 for anything else."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    aware = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
