"""Tells receivers what the outbox holds for them, on a thread of its own.

A receiver that is slow or away delays neither jobs nor other receivers. Knows neither the queue nor
who asked for a job.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

from fooocusapi.exceptions import StoreError
from fooocusapi.jobs.clock import Clock
from fooocusapi.jobs.outbox import Message, Outbox
from fooocusapi.schemas.vocabulary import DeliveryStatus, MessageType
from fooocusapi.webhook_sending import Outcome, Receiver, send

_log = logging.getLogger(__name__)

WAITS_S = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 4800.0)
"""Between the attempts, of which there is one more."""

_JITTER = 0.1
_AT_ONCE, _AT_ONCE_EACH = 16, 4
_STORE_WAIT_S, _CUT_S = 5.0, 1.0
_LOOK_EVERY_S = 60.0
_DAY_S = 24 * 3600.0
_ENDS = (MessageType.COMPLETED, MessageType.FAILED, MessageType.CANCELED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who may be told and how.

    Attributes:
        common_target: Receiver of jobs without one of their own; never restricted.
        public_only: Receivers named by requests must have a globally routable address.
        secrets: What messages are signed with.
        timeout_s: How long one attempt may take in all.
        waits_s: Between attempts.
    """

    common_target: str | None = None
    public_only: bool = False
    secrets: tuple[bytes, ...] = ()
    timeout_s: float = 15.0
    waits_s: tuple[float, ...] = WAITS_S


class Webhooks:
    """Sends what is due until it was taken, or the attempts are used up.

    Args:
        outbox: Where messages lie until then.
        clock: Time for the records.
        is_ending: Whether the end of the job of that id is stored but not shown yet.
    """

    def __init__(
        self,
        outbox: Outbox,
        rules: Rules,
        clock: Clock,
        is_ending: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._outbox = outbox
        self._rules = rules
        self._clock = clock
        self._is_ending = is_ending
        self._sending: dict[str, Message] = {}
        self._is_stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="webhooks", daemon=True)

    def start(self) -> None:
        """Start the thread, which begins with what an earlier run has left."""
        self._thread.start()

    def stop(self, limit_s: float) -> None:
        """Send what is due now, for so many seconds at most; the rest is kept."""
        self._is_stopping = True
        self.wake()
        self._thread.join(limit_s)
        with self._lock:
            if self._loop is not None and self._serving is not None:
                self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(_CUT_S)

    def wake(self) -> None:
        """Have the outbox looked at."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._woken.set)

    def _work(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._serving = asyncio.current_task()
        try:
            await self._send_all()
        finally:
            with self._lock:
                self._loop = None

    async def _send_all(self) -> None:
        tls = _trusted()
        tasks: set[asyncio.Task[None]] = set()
        while True:
            self._woken.clear()
            wait_s = self._begin_due(tasks, tls)
            if self._is_stopping and not self._sending:
                return
            # Not wait_for, which swallows being cut off if it was woken at the same moment.
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()

    def _begin_due(self, tasks: set[asyncio.Task[None]], tls: ssl.SSLContext) -> float:
        """Begin what may be sent now; how long there is nothing more to do."""
        try:
            now_ms = self._clock()
            # Once more each time, because what is due next may be for a receiver that is not busy.
            while chosen := self._next_due(now_ms):
                for message in chosen:
                    self._sending[message.id] = message
                    task = asyncio.create_task(self._attempt(message, tls))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            next_ms = self._outbox.next_due_ms(now_ms)
        except StoreError as error:
            _log.warning("webhooks wait: %s", error)
            return _STORE_WAIT_S
        # Also without being woken: the end of a job may have been stored long after it was shown.
        wait_s = _LOOK_EVERY_S if next_ms is None else (next_ms - now_ms) / 1000
        return min(wait_s, _LOOK_EVERY_S)

    def _next_due(self, now_ms: int) -> list[Message]:
        """What may be begun: not too much at once, and no receiver more than a few times."""
        chosen: list[Message] = []
        counts = Counter(message.target for message in self._sending.values())
        free = _AT_ONCE - len(self._sending)
        busy = [target for target, count in counts.items() if count >= _AT_ONCE_EACH]
        # What is being sent is due as well, as far as the outbox knows.
        for message in self._outbox.due(now_ms, _AT_ONCE + free, busy):
            if message.id in self._sending or counts[message.target] >= _AT_ONCE_EACH:
                continue
            if message.type in _ENDS and self._is_ending(message.job_id):
                continue
            counts[message.target] += 1
            chosen.append(message)
        return chosen[:free]

    async def _attempt(self, message: Message, tls: ssl.SSLContext) -> None:
        try:
            # Receivers compare with their own clocks, so here the clock on the wall counts.
            outcome = await send(message, self._receiver(message), tls, int(time.time()))
            tried = self._after(message, outcome)
            _log.log(
                logging.INFO if outcome.is_taken else logging.WARNING,
                "webhook of job %s, %s, attempt %d: %s",
                *(message.job_id, message.type, tried.attempts, outcome.problem or outcome.status),
            )
            self._outbox.note_attempt(tried)
        except StoreError as error:
            # Told again then, under the same id.
            _log.warning("what became of a webhook could not be stored: %s", error)
        finally:
            del self._sending[message.id]
            self._woken.set()

    def _receiver(self, message: Message) -> Receiver | None:
        rules = self._rules
        url = message.target or rules.common_target
        if url is None:
            return None
        return Receiver(
            url=url,
            is_restricted=rules.public_only and message.target is not None,
            secrets=rules.secrets,
            timeout_s=rules.timeout_s,
        )

    def _after(self, message: Message, outcome: Outcome) -> Message:
        attempts = message.attempts + 1
        status, due_ms = DeliveryStatus.PENDING, message.due_ms
        if outcome.is_taken:
            status = DeliveryStatus.DELIVERED
        elif outcome.is_final or attempts > len(self._rules.waits_s):
            status = DeliveryStatus.FAILED
        else:
            wait_s = self._rules.waits_s[attempts - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)
            wait_s = max(wait_s, min(outcome.retry_after_s, _DAY_S))
            due_ms = self._clock() + int(wait_s * 1000)
        return replace(
            message,
            status=status,
            attempts=attempts,
            due_ms=due_ms,
            answer=outcome.status,
            problem=outcome.problem,
        )


@cache
def _trusted() -> ssl.SSLContext:
    # Takes long enough to be made once, and not while a job begins.
    return ssl.create_default_context()
