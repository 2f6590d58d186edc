"""Which pages of other origins may call. Knows the headers of browsers, no routes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from fooocusapi.exceptions import ForeignPageError

ANY = "*"

_ORIGIN = re.compile(r"https?://[^\s/?#@,]+", re.ASCII)


def read_origins(text: str) -> tuple[str, ...]:
    """Origins out of a list with commas, as browsers write them.

    Raises:
        ValueError: One is no origin.
    """
    origins = [part.strip().rstrip("/").lower() for part in text.split(",") if part.strip()]
    for origin in origins:
        if origin != ANY and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin such as https://page.example, nor *")
    return tuple(origins)


def allows_any(origins: Sequence[str]) -> bool:
    """Whether pages of every origin may call."""
    return not origins or ANY in origins


def check_page(headers: Mapping[str, str], origins: Sequence[str], base_url: str) -> None:
    """Refuse a request that a page sent whose origin is not listed and not the server's own.

    Args:
        origins: Those that may call; empty = any.
        base_url: Address of the server, as it knows it.

    Raises:
        ForeignPageError: It may not.
    """
    if allows_any(origins):
        return
    origin = headers.get("origin")
    if origin is None:
        is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    else:
        is_own = _is_own(origin, headers.get("host", ""), base_url)
        is_foreign = not (is_own or origin.lower() in origins)
    if is_foreign:
        raise ForeignPageError(
            "pages of this origin may not call: --cors-allow-origins names others"
        )


def _is_own(origin: str, host: str, base_url: str) -> bool:
    """Whether a page came from this server, which a name alone does not show.

    Somebody else's name may lead here, too, while one of their pages is open.
    """
    try:
        page = urlsplit(origin)
    except ValueError:
        return False
    if page.netloc.lower() != host.lower():
        return False
    name = page.hostname or ""
    return name in ("localhost", urlsplit(base_url).hostname) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
