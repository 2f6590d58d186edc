"""How log lines look: whatever a caller sends, one message stays one line, without secrets."""

from __future__ import annotations

import logging
import re

from fooocusapi.request_ids import current_request

_SECRET = re.compile(r"\b(token|(?:x-)?api[-_]?key)=[^&\s\"]+", re.IGNORECASE)


class LineFormatter(logging.Formatter):
    """Escapes control characters in messages, and all but line ends in tracebacks.

    A message that belongs to a request ends with its id.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the library's name)
        """The line without its traceback."""
        line = _escaped(_SECRET.sub(r"\1=...", super().formatMessage(record)))
        request_id = current_request.get()
        return line if request_id is None else f"{line} [{request_id}]"

    def formatException(self, ei: object) -> str:  # noqa: N802  (the library's name)
        """The traceback."""
        lines = super().formatException(ei).split("\n")  # type: ignore[arg-type]
        return "\n".join(_escaped(line) for line in lines)


def _escaped(text: str) -> str:
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
