"""The X-API-KEY check."""

from __future__ import annotations

import hmac
from hashlib import sha256

from fooocusapi.exceptions import ForbiddenError


def check_key(expected: str | None, given: str | None) -> None:
    """Compare a key in a time that does not depend on where it differs.

    Raises:
        ForbiddenError: A key is expected and another or none is given.
    """
    if expected is None:
        return
    # Hashing first makes lengths equal, so that the length of the key does not show either.
    digests = [sha256((key or "").encode(errors="replace")).digest() for key in (expected, given)]
    if not hmac.compare_digest(*digests):
        raise ForbiddenError("Forbidden")
