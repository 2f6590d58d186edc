"""A page per day that shows the pictures of that day and how they were made.

Knows neither jobs nor requests.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from html import escape
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from fooocus_core.events import GeneratedImage, ImageRecord

LOG_FILE = "log.html"
MAX_ENTRIES = 1000

_log = logging.getLogger(__name__)

# Texts are escaped, so that this is never found inside one.
_MARK = "<!-- picture -->\n"
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; margin: 2em; }}
section {{ display: flex; gap: 1em; margin-bottom: 2em; }}
img {{ max-width: 512px; max-height: 512px; }}
th {{ text-align: left; vertical-align: top; padding-right: 1em; white-space: nowrap; }}
td {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>{title}</h1>
"""


class ImageLog:
    """Writes the pages. Used by one thread.

    Args:
        files: The folder that holds a folder of pictures per day.
    """

    def __init__(self, files: Path) -> None:
        self._files = files

    def add(self, folder: str, name: str, image: GeneratedImage) -> None:
        """Put a saved picture at the top of its day's page, which shows the newest 1000.

        The page is replaced as a whole or not at all. A page that cannot be written leaves a
        warning in the log: the picture itself is safe.

        Args:
            folder: Name of the day's folder.
            name: Name of the picture's file.
        """
        page = self._files / folder / LOG_FILE
        temporary = page.with_name(f".{uuid4().hex}.part")
        try:
            head, *entries = _read(page, folder).split(_MARK)
            newest = [_entry(name, image), *entries][:MAX_ENTRIES]
            text = _MARK.join([head, *newest])
            temporary.write_text(text, encoding="utf-8", errors="replace", newline="\n")
            temporary.replace(page)
        except (OSError, UnicodeError) as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            _log.warning("%s cannot be written: %s", page, error)


def _read(page: Path, title: str) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _HEAD.format(title=escape(title))


def _entry(name: str, image: GeneratedImage) -> str:
    address = escape(quote(name))
    rows = "".join(_row(label, value) for label, value in _rows(image))
    copy = "" if image.record is None else _json_copy(image.record)
    return (
        f'<section>\n<a href="{address}"><img src="{address}" loading="lazy" alt=""></a>\n'
        f"<div>\n<table>\n{_row('File', name)}{rows}</table>\n{copy}</div>\n</section>\n"
    )


def _rows(image: GeneratedImage) -> list[tuple[str, str]]:
    record = image.record
    if record is None:
        return [("Seed", str(image.seed))]
    return [
        *((label, str(value)) for label, _, value in record.rows),
        ("Full Positive Prompt", "\n".join(record.positive)),
        ("Full Negative Prompt", "\n".join(record.negative)),
    ]


def _row(label: str, value: str) -> str:
    return f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>\n"


def _json_copy(record: ImageRecord) -> str:
    values = json.dumps({label: value for label, _, value in record.rows})
    return f'<p><a href="data:application/json,{escape(quote(values))}">as JSON</a></p>\n'
