"""Files that users may leave behind: what is wrong with each, and where a complaint points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LARGE_BYTES = 100 * 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A file that cannot be used.

    Attributes:
        content: ``None`` = 100 MB of nothing.
        line: Where the fault lies; ``None`` = there is no such line.
    """

    name: str
    content: bytes | None
    line: int | None

    def write(self, path: Path) -> Path:
        """Make the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            if self.content is None:
                file.truncate(LARGE_BYTES)
            else:
                file.write(self.content)
        return path

    def place(self, path: Path) -> str:
        """What a complaint about the file has to say."""
        return str(path) if self.line is None else f"{path}, line {self.line}:"


TEXT_FAULTS = (
    Fault(name="UTF-16", content="one\nzwei".encode("utf-16"), line=1),
    Fault(name="UTF-16 without a mark", content="one\ntwo".encode("utf-16-le"), line=1),
    Fault(name="UTF-32", content="one\ntwo".encode("utf-32"), line=1),
    Fault(name="Latin-1", content="one\ndeux mètres".encode("latin-1"), line=2),
    Fault(name="byte order mark", content="one\ntwo".encode("utf-8-sig"), line=1),
    Fault(name="GBK", content="one\n\n红色".encode("gbk"), line=3),
    Fault(name="binary", content=b"\x89PNG\r\n\x1a\n", line=1),
    Fault(name="100 MB", content=None, line=None),
)


def json_faults(text: str, wrong_types: Sequence[str]) -> tuple[Fault, ...]:
    """What can be wrong with a JSON file.

    Args:
        text: A file that is right, with at least three lines.
        wrong_types: JSON of other types than the file has to be of.
    """
    body, closing = text.strip()[:-1].strip(), text.strip()[-1]
    last = body.count("\n") + 1
    return (
        *TEXT_FAULTS,
        Fault(name="nothing", content=b"", line=1),
        Fault(name="not JSON", content=b"a = b\nc = d", line=1),
        Fault(name="truncated", content=body.encode(), line=last),
        Fault(name="truncated in a text", content=body[: body.rindex('"')].encode(), line=last),
        Fault(name="comma at the end", content=f"{body},{closing}".encode(), line=last),
        *(Fault(name=f"is {json}", content=f"{json}\n".encode(), line=1) for json in wrong_types),
    )
