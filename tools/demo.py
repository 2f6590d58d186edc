"""Calls every generation endpoint of a server with the embedded model, and shows what comes back.

Writes one picture with all of them and what was asked. `make demo` runs it.
"""

from __future__ import annotations

import argparse
import base64
import io
import logging
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw, ImageFont

_log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
START_S, REQUEST_S = 120, 900
_SIZE, _SEED = "1024*1024", 7
_TILE, _CAPTION, _COLUMNS = 320, 64, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A finished picture and what was asked for it."""

    image: Image.Image
    caption: str


@contextmanager
def serving(outputs: Path) -> Iterator[httpx.Client]:
    """A client of a server with the embedded model, which ends with the block.

    Raises:
        RuntimeError: It did not start; its log is shown.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "main.py", "--preset", "tiny", "--port", str(port)]
    command += ["--output-path", str(outputs), "--log-level", "warning"]
    server = subprocess.Popen(command, cwd=ROOT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=REQUEST_S) as client:
            _wait_for(client, server)
            yield client
    finally:
        server.terminate()
        server.wait()


def _wait_for(client: httpx.Client, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < end:
        try:
            if client.get("/startupz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError("the server did not start")


class Asker:
    """Asks for one picture at a time.

    Args:
        client: Of the server.
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def __call__(self, path: str, caption: str, **fields: Any) -> Shown:
        """Ask with JSON.

        Raises:
            httpx.HTTPStatusError: The server refused, or the job failed.
        """
        usual = {"aspect_ratios_selection": _SIZE, "image_seed": _SEED}
        answer = self._client.post(
            path, json={**usual, **fields}, headers={"accept": "image/png"}
        ).raise_for_status()
        _log.info("%s: %s", path, caption)
        image = Image.open(io.BytesIO(answer.content)).convert("RGB")
        return Shown(image=image, caption=f"{path.removeprefix('/')}: {caption}")


def call_every_endpoint(ask: Asker) -> list[Shown]:
    """One picture of each endpoint; those that need a picture get the first one."""
    prompt = "a red circle on a blue background"
    first = ask("/v1/generation/text-to-image", prompt, prompt=prompt)
    given, mask = _encode(first.image), _encode(_middle(first.image.size))
    guide = [{"cn_img": given, "cn_type": "ImagePrompt", "cn_stop": 0.9, "cn_weight": 1.0}]
    edges = [{"cn_img": given, "cn_type": "PyraCanny", "cn_stop": 0.9, "cn_weight": 1.0}]
    region = {
        "enhance_enabled": True,
        "enhance_mask_model": "isnet-general-use",
        "enhance_prompt": "a yellow circle",
    }
    return [
        first,
        ask(
            "/v2/generation/text-to-image-with-ip",
            "a green square, guided by the first",
            prompt="a green square",
            image_prompts=guide,
        ),
        ask(
            "/v1/generation/image-upscale-vary",
            "Vary (Strong)",
            prompt=prompt,
            input_image=given,
            uov_method="Vary (Strong)",
        ),
        ask(
            "/v2/generation/image-upscale-vary",
            "Upscale (1.5x)",
            prompt=prompt,
            input_image=given,
            uov_method="Upscale (1.5x)",
        ),
        ask(
            "/v1/generation/image-inpaint-outpaint",
            "the middle becomes a yellow star",
            prompt="a yellow star on a blue background",
            input_image=given,
            input_mask=mask,
        ),
        ask(
            "/v2/generation/image-inpaint-outpaint",
            "more to the left and right",
            prompt="a blue background",
            input_image=given,
            outpaint_selections=["Left", "Right"],
        ),
        ask(
            "/v1/generation/image-prompt",
            "a tree, guided by the first",
            prompt="a tree",
            image_prompts=guide,
        ),
        ask(
            "/v2/generation/image-prompt",
            "green on white, along the edges of the first",
            prompt="a green circle on a white background",
            image_prompts=edges,
        ),
        ask(
            "/v1/generation/image-enhance",
            "Vary (Subtle)",
            prompt=prompt,
            enhance_input_image=given,
            enhance_uov_method="Vary (Subtle)",
        ),
        ask(
            "/v2/generation/image-enhance",
            "what stands out becomes a yellow circle",
            prompt=prompt,
            enhance_input_image=given,
            enhance_uov_method="Disabled",
            enhance_ctrlnets=[region],
        ),
    ]


def _encode(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _middle(size: tuple[int, int]) -> Image.Image:
    """A mask of a disc in the middle."""
    mask = Image.new("L", size)
    width, height = size
    box = (width // 4, height // 4, width - width // 4, height - height // 4)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


def contact_sheet(shown: Sequence[Shown]) -> Image.Image:
    """All pictures, each above its caption."""
    rows = -(-len(shown) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _TILE, rows * (_TILE + _CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for index, one in enumerate(shown):
        left = index % _COLUMNS * _TILE
        top = index // _COLUMNS * (_TILE + _CAPTION)
        tile = one.image.copy()
        tile.thumbnail((_TILE - 8, _TILE - 8))
        place = (left + (_TILE - tile.width) // 2, top + (_TILE - tile.height) // 2)
        sheet.paste(tile, place)
        text = "\n".join(textwrap.wrap(one.caption, 46))
        draw.text((left + 6, top + _TILE), text, fill="black", font=font)
    return sheet


def main() -> None:
    """Make the pictures and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "demo.png")
    target = parser.parse_args().output
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as client:
        shown = call_every_endpoint(Asker(client))
    target.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(shown).save(target)
    _log.info("%s", target)


if __name__ == "__main__":
    main()
