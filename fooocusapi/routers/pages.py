"""The start page and the sign of life."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(tags=["Pages"])

_START = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>fooocusapi</title></head>
<body>
<h1>fooocusapi</h1>
<p>The server is running. Every endpoint is described in <a href="/docs">/docs</a>.</p>
</body>
</html>
"""


@router.get("/", operation_id="home", response_class=HTMLResponse)
async def home() -> str:
    """A short page that leads to the documentation."""
    return _START


@router.get("/ping", operation_id="ping")
async def ping() -> str:
    """Answers `pong`."""
    return "pong"
