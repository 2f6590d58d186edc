"""What a caller wants apart from the picture: form of the answer, waiting, and its key.

Reads headers; knows neither bodies nor jobs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fooocusapi.disconnects import HangUp
from fooocusapi.exceptions import InvalidKeyError

_MAX_WAIT_S = 3600
_MAX_KEY = 255
_WAIT = re.compile(r"wait\s*=\s*\"?([0-9]{1,9})\"?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What one caller wants.

    Attributes:
        wants_png: It accepts a PNG only; one picture is made then.
        responds_async: It wants to know the job's place at once.
        wait_s: It waits so many seconds at most; ``None`` = until the end.
        key: Under which the request is sent; the same key means the same job.
        scope: Whose key it is, and for which route.
        owner: Name of the API key; empty if none are configured.
        hang_up: Waits until the caller is gone; ``None`` = that is not looked for.
    """

    wants_png: bool = False
    responds_async: bool = False
    wait_s: int | None = None
    key: str | None = None
    scope: str = ""
    owner: str = ""
    hang_up: HangUp | None = None


def read_prefer(texts: list[str]) -> tuple[bool, int | None]:
    """``respond-async`` and ``wait`` of all ``Prefer`` headers; what is not understood is left out.

    Waiting ends after an hour, whatever is asked for.
    """
    parts = [part.strip().lower() for text in texts for part in re.split("[,;]", text)]
    waits = [match for part in parts if (match := _WAIT.fullmatch(part)) is not None]
    return "respond-async" in parts, min(int(waits[0][1]), _MAX_WAIT_S) if waits else None


def read_key(text: str | None) -> str | None:
    """The value of ``Idempotency-Key``.

    Raises:
        InvalidKeyError: It is empty, longer than 255 characters, or has others than printable
            ASCII.
    """
    if text is None:
        return None
    if not (text and len(text) <= _MAX_KEY and text.isascii() and text.isprintable()):
        raise InvalidKeyError("Idempotency-Key has to have 1 to 255 printable ASCII characters")
    return text
