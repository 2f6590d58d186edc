"""The start page and the sign of life."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from fooocusapi.routers.answers import Answers

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


_PAGE: Answers = {
    200: {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}
}


@router.get("/", operation_id="home", response_class=Response, responses=_PAGE)
async def home() -> Response:
    """A short page that leads to the documentation."""
    return HTMLResponse(_START)


@router.get("/ping", operation_id="ping")
async def ping() -> str:
    """Answers `pong`."""
    return "pong"
