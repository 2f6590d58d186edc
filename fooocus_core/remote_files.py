"""Where the bytes of a published file come from, and what is known of them beforehand.

The only module that talks to the hub's own library, which is loaded when it is first needed. Knows
nothing of where files are put.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import SplitResult, unquote, urlsplit

import httpx

from fooocus_core.errors import DownloadError

HUB = "https://huggingface.co"

# Model repositories only: those of other kinds have a word in front of owner and name.
_HUB_FILE = re.compile(r"/((?:[^/]+/)?[^/]+)/resolve/([^/]+)/(.+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONNECT_S = 10.0
_UNENCODED = MappingProxyType({"Accept-Encoding": "identity"})


class TransientError(Exception):
    """A failure that may be gone at the next attempt; control flow between the fetching modules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """What a server says of a file.

    Attributes:
        address: Answers with the content, maybe after redirects.
        headers: Wanted by the server.
        size: In bytes; ``None`` = not told.
        sha256: Hexadecimal; ``None`` = not told.
        version: Differs between two contents of one address; empty = not told.
    """

    address: str
    headers: Mapping[str, str]
    size: int | None
    sha256: str | None
    version: str


def make_client(silence_s: float) -> httpx.Client:
    """A client that waits for a silent server at most so many seconds."""
    timeout = httpx.Timeout(silence_s, connect=_CONNECT_S)
    return httpx.Client(follow_redirects=True, timeout=timeout, headers=_UNENCODED)


def look_up(client: httpx.Client, address: str, mirror: str | None) -> RemoteFile:
    """Ask the server of an address what it has there.

    Args:
        client: Of :func:`make_client`.
        address: An http(s) address; one of the hub is asked by the hub's own library.
        mirror: Stands in for the hub's part of an address.

    Raises:
        TransientError: Trying again may help.
        DownloadError: It will not.
    """
    parts = _split(address)
    if parts is None:
        raise DownloadError(f"{shown_address(address)} is no http(s) address")
    if f"{parts.scheme}://{parts.netloc}" != HUB:
        return _look_up_anywhere(client, address)
    endpoint = mirror or HUB
    match = _HUB_FILE.fullmatch(parts.path)
    if match is None:
        return _look_up_anywhere(client, endpoint + address.removeprefix(HUB))
    repository, revision, path = map(unquote, match.groups())
    return _look_up_at_hub(endpoint, repository, revision, path)


def shown_address(address: str) -> str:
    """An address fit for logs and answers: without password and query, which may hold secrets."""
    parts = _split(address)
    if parts is None:
        return "what is given"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _split(address: str) -> SplitResult | None:
    """The parts of an http(s) address; ``None`` = it is none."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname else None


@contextmanager
def reaching(address: str) -> Iterator[None]:
    """Tell of failures of the network in the terms of this module.

    Raises:
        TransientError: Trying again may help.
        DownloadError: The address, or one it leads to, cannot be used.
    """
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
        raise DownloadError(f"{shown_address(address)}: {error}") from error
    except httpx.TransportError as error:
        text = f"{shown_address(address)} cannot be reached: {_reason(error)}"
        raise TransientError(text) from error


def check_status(status: int, address: str) -> None:
    """Pass a success.

    Raises:
        TransientError: The server is busy or broken.
        DownloadError: It refuses.
    """
    if status < 400:
        return
    text = f"{shown_address(address)} answered with status {status}"
    if status in _TRY_AGAIN:
        raise TransientError(text)
    if status in (401, 403):
        text += "; it may want an access token (HF_TOKEN), or a licence to be accepted there"
    raise DownloadError(text)


def _look_up_at_hub(endpoint: str, repository: str, revision: str, path: str) -> RemoteFile:
    # Takes half a second to load, and most runs fetch nothing.
    import httpx2
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented

    address = f"{endpoint}/{repository}/resolve/{revision}/{path}"
    try:
        address = hf_hub_url(repository, path, revision=revision, endpoint=endpoint)
        found = get_hf_file_metadata(address, timeout=_CONNECT_S, endpoint=endpoint)
    except HfHubHTTPError as error:
        check_status(error.response.status_code, address)
        raise DownloadError(f"{address}: {error}") from error
    except httpx2.TooManyRedirects as error:
        raise DownloadError(f"{address}: {error}") from error
    except httpx2.TransportError as error:
        raise TransientError(f"{address} cannot be reached: {_reason(error)}") from error
    except HFValidationError as error:
        raise DownloadError(f"{address} is no file of the hub: {error}") from error
    version = found.etag or ""
    return RemoteFile(
        address=address,
        headers=build_hf_headers(),
        size=found.size,
        sha256=version if _SHA256.fullmatch(version) else None,
        version=version,
    )


def _look_up_anywhere(client: httpx.Client, address: str) -> RemoteFile:
    # Not by HEAD: signed addresses that others redirect to are often good for GET alone.
    with reaching(address), client.stream("GET", address) as response:
        check_status(response.status_code, address)
        length = response.headers.get("content-length", "")
        return RemoteFile(
            address=address,
            headers={},
            size=int(length) if length.isdecimal() else None,
            sha256=None,
            version=response.headers.get("etag") or response.headers.get("last-modified", ""),
        )


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
