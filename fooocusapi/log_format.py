"""How log lines look: whatever a caller sends, one message stays one line."""

from __future__ import annotations

import logging


class LineFormatter(logging.Formatter):
    """Escapes control characters in messages, and all but line ends in tracebacks."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the library's name)
        """The line without its traceback."""
        return _escaped(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802  (the library's name)
        """The traceback."""
        lines = super().formatException(ei).split("\n")  # type: ignore[arg-type]
        return "\n".join(_escaped(line) for line in lines)


def _escaped(text: str) -> str:
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
