"""Encoded pictures for requests."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from tests.golden import GOLDEN

COLOUR = (10, 120, 200)


def plain(width: int, height: int, colour: Any = COLOUR, mode: str = "RGB") -> Image.Image:
    """A picture of one colour."""
    return Image.new(mode, (width, height), colour)


def encode(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def as_base64(data: bytes) -> str:
    """Bytes as a JSON body carries them."""
    return base64.b64encode(data).decode("ascii")


def as_data_url(data: bytes, media_type: str = "image/png") -> str:
    """Bytes as a browser hands them out."""
    return f"data:{media_type};base64,{as_base64(data)}"


@contextmanager
def serving(data: bytes) -> Iterator[str]:
    """The address of a web server on this host that answers everything with these bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_address[1]}/picture.png"
    server.shutdown()
    server.server_close()
    thread.join()


def recorded_input(name: str) -> bytes:
    """An input picture of the recorded generations."""
    return (GOLDEN / "inputs" / f"{name}.png").read_bytes()
