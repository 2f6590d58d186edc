"""Short-lived tokens for following one job where no header can be set, as in a browser.

Each is good for the events of one job, for some minutes, and until the server stops. Knows no
routes and no jobs.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable
from hashlib import sha256

LIFETIME_S = 300

_TOKEN = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{0,64})\.([0-9a-f]{64})", re.ASCII)


class EventTokens:
    """Makes tokens and checks them.

    Args:
        clock: Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)

    def mint(self, job_id: str, name: str) -> str:
        """A token for the events of a job, in the name of the key that the job belongs to."""
        end = str(int(self._clock()) + LIFETIME_S)
        return f"{end}.{name}.{self._mark(job_id, name, end)}"

    def name_in(self, token: str, job_id: str) -> str | None:
        """In whose name a token is; ``None`` if it is not one for this job and this moment."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        end, name, mark = match.groups()
        is_ours = hmac.compare_digest(mark, self._mark(job_id, name, end))
        return name if is_ours and int(end) > self._clock() else None

    def _mark(self, job_id: str, name: str, end: str) -> str:
        text = "\n".join((end, name, job_id)).encode(errors="replace")
        return hmac.new(self._secret, text, sha256).hexdigest()
