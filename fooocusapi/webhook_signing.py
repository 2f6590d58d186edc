"""Signs webhooks, so that a receiver can tell them from what others send.

Knows nothing of jobs and of sending. Source: Standard Webhooks 1.0.0.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"
_MIN_BYTES, _MAX_BYTES = 24, 64
_MOST = 2


def read_secrets(text: str) -> tuple[bytes, ...]:
    """One secret, or two with a comma between while one takes the place of the other.

    Raises:
        ValueError: They have another form; the message does not show them.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > _MOST:
        raise ValueError(f"at most {_MOST} secrets are wanted")
    return tuple(_read(part) for part in parts)


def _read(text: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not (text.startswith(_PREFIX) and _MIN_BYTES <= len(secret) <= _MAX_BYTES):
        raise ValueError(
            f"a secret is '{_PREFIX}' and the base64 of {_MIN_BYTES} to {_MAX_BYTES} random bytes, "
            f"as `echo {_PREFIX}$(openssl rand -base64 32)` makes it"
        )
    return secret


def signed_headers(
    secrets: Sequence[bytes], *, message_id: str, time_s: int, body: bytes
) -> dict[str, str]:
    """The headers that name a message and prove who sends it; none without a secret.

    Args:
        message_id: The same over all attempts, without a dot.
        time_s: Of the attempt, in seconds since the epoch.
        body: As it is sent.
    """
    if not secrets:
        return {}
    signed = b".".join((message_id.encode(), str(time_s).encode(), body))
    signatures = (hmac.digest(secret, signed, "sha256") for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(time_s),
        "webhook-signature": " ".join(
            f"v1,{base64.b64encode(signature).decode()}" for signature in signatures
        ),
    }
