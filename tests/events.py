"""Reading streams of server-sent events."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One event as a client sees it."""

    event: str
    data: dict[str, Any]
    id: int | None


def read_frames(text: str) -> list[Frame]:
    """The events of a stream; comments are left out."""
    blocks = [block.split("\n") for block in text.split("\n\n") if block]
    return [_frame(lines) for lines in blocks if not lines[0].startswith(":")]


def _frame(lines: list[str]) -> Frame:
    fields = dict(line.split(": ", 1) for line in lines)
    assert len(fields) == len(lines), "each field stands on one line"
    number = fields.get("id")
    return Frame(
        event=fields["event"],
        data=json.loads(fields["data"]),
        id=None if number is None else int(number),
    )
