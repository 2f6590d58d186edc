"""Texts of flags -> their values. Knows no flag."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from urllib.parse import urlsplit

from fooocusapi.origins import read_origins
from fooocusapi.schemas.parameters import webhook_target
from fooocusapi.webhook_signing import read_secrets


def read_whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers from ``low`` to ``high``, both allowed."""

    def read(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            bounds = f"at least {low}" if high is None else f"{low} to {high}"
            raise argparse.ArgumentTypeError(f"{value} is not allowed, {bounds} is wanted")
        return value

    return read


def read_seconds(text: str) -> float:
    """A number of seconds, 0 or more.

    Raises:
        ValueError: It is no number.
        argparse.ArgumentTypeError: It is negative or without end.
    """
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def read_gibibytes(text: str) -> int:
    """An amount of memory in GiB, as bytes.

    Raises:
        ValueError: It is no number.
        argparse.ArgumentTypeError: It is negative or without end.
    """
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not an amount of memory")
    return int(value * 2**30)


def read_webhook(text: str) -> str:
    """An address that may be told of jobs, as it is.

    Raises:
        argparse.ArgumentTypeError: It is no http(s) address.
    """
    if webhook_target(text, may_hold_password=True) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no http(s) address")
    return text


def read_mirror(text: str) -> str:
    """The address that stands in for the hub's, without a trailing slash.

    Raises:
        argparse.ArgumentTypeError: It is no http(s) address.
    """
    address = text.strip()
    parts = urlsplit(address if "://" in address else f"https://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise argparse.ArgumentTypeError(f"{text!r} is no http(s) address")
    return parts.geturl().rstrip("/")


def read_api_key(text: str) -> str:
    """An API key, as it is.

    Raises:
        argparse.ArgumentTypeError: No header could hold it.
    """
    # A header holds nothing else, so with any other key nobody could be let in.
    if not (text.isascii() and text.isprintable() and text.strip() == text and text):
        raise argparse.ArgumentTypeError(
            "a key has printable ASCII characters, at least one, and no blanks around it"
        )
    return text


def read_page_origins(text: str) -> tuple[str, ...]:
    """Origins of pages.

    Raises:
        argparse.ArgumentTypeError: One is none; says which.
    """
    try:
        return read_origins(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def read_webhook_secrets(text: str) -> tuple[bytes, ...]:
    """What webhooks are signed with.

    Raises:
        argparse.ArgumentTypeError: They have another form; does not show them.
    """
    try:
        return read_secrets(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
