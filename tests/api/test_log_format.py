"""Log lines stay lines."""

from __future__ import annotations

import logging
import sys

from fooocusapi.log_format import LineFormatter


def test_control_characters_of_callers_are_escaped() -> None:
    record = logging.LogRecord(
        "name", logging.WARNING, "file", 1, "unknown '%s'", ("a\nb\r\x1b[31mé\u2028狐",), None
    )
    assert LineFormatter("%(message)s").format(record) == ("unknown 'a\\nb\\r\\x1b[31mé\\u2028狐'")


def test_tracebacks_keep_their_lines_and_nothing_else() -> None:
    try:
        raise ValueError("bad\x1b[31m")
    except ValueError:
        record = logging.LogRecord("name", logging.ERROR, "file", 1, "odd", (), sys.exc_info())
    text = LineFormatter("%(message)s").format(record)
    assert text.startswith("odd\nTraceback")
    assert text.endswith("ValueError: bad\\x1b[31m")
