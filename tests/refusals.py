"""What a refusal has to say."""

from __future__ import annotations

from typing import Any

import httpx


def refused(answer: httpx.Response, *location: str | int, says: str = "") -> dict[str, Any]:
    """The first complaint of a 422, about the field at ``location`` of the body.

    Args:
        says: Part of the reason.
    """
    assert answer.status_code == 422, f"{answer.status_code}: {answer.text[:300]}"
    first: dict[str, Any] = answer.json()["detail"][0]
    assert first["loc"][: len(location) + 1] == ["body", *location], first
    assert first["msg"]
    assert says.lower() in first["msg"].lower(), first
    assert len(str(first)) < 2000
    return first
