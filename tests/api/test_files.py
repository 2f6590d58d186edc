"""GET /files/{date}/{name}."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.types import Message, Receive, Scope, Send

from fooocus_core.config import CoreConfig
from fooocusapi.storage import Storage, StoredFile

DATE = "2024-01-31"


@pytest.fixture
def folder(core: CoreConfig) -> Path:
    """A date folder holding pictures and other things."""
    folder = core.folders.outputs / "files" / DATE
    folder.mkdir(parents=True)
    picture = Image.fromarray(np.full((8, 8, 4), (255, 0, 0, 0), np.uint8))
    picture.save(folder / "a b.png")
    picture.convert("RGB").save(folder / "a.jpg", "JPEG")
    picture.convert("RGB").save(folder / "a.webp")
    picture.save(folder / ".hidden.png")
    picture.save(core.folders.outputs / "files" / "outside.png")
    (folder / "a.html").write_text("<script>")
    (folder / "a.svg").write_text("<svg/>")
    (folder / "folder.png").mkdir()
    (folder / "link.png").symlink_to("/etc/hostname")
    return folder


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("a b.png", "image/png"), ("a.jpg", "image/jpeg"), ("a.webp", "image/webp")],
)
@pytest.mark.parametrize("accept", [None, "*/*", "text/html,image/avif,*/*;q=0.8", "image/gif"])
def test_b50_stored_bytes_are_served(
    client: TestClient, folder: Path, name: str, media_type: str, accept: str | None
) -> None:
    client.headers.pop("accept", None)
    headers = {} if accept is None else {"accept": accept}
    answer = client.get(f"/files/{DATE}/{name}", headers=headers)
    assert answer.content == (folder / name).read_bytes()
    assert answer.headers["content-type"] == media_type
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
    assert answer.headers["Content-Disposition"].startswith("inline")
    assert answer.headers["ETag"]


def test_head_answers_without_the_bytes(client: TestClient, folder: Path) -> None:
    answer = client.head(f"/files/{DATE}/a.jpg")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == (folder / "a.jpg").stat().st_size


@pytest.mark.parametrize(
    ("part", "wanted"), [({}, slice(None)), ({"range": "bytes=2-9"}, slice(2, 10))]
)
def test_a_picture_that_is_removed_when_its_answer_begins_is_sent_whole(
    client: TestClient, folder: Path, part: dict[str, str], wanted: slice
) -> None:
    content = (folder / "a.jpg").read_bytes()

    async def removing(scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                (folder / "a.jpg").unlink()

        await client.app(scope, receive, watched)

    answer = TestClient(removing).get(f"/files/{DATE}/a.jpg", headers=part)
    assert answer.content == content[wanted]
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert not (folder / "a.jpg").exists()


def test_a_picture_that_is_removed_once_it_was_found_is_not_there(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Storage.find

    def find_and_remove(storage: Storage, date: str, name: str) -> StoredFile:
        found = find(storage, date, name)
        found.path.unlink()
        return found

    monkeypatch.setattr(Storage, "find", find_and_remove)
    for accept in ("*/*", "image/png"):
        (folder / "a.jpg").write_bytes((folder / "a.webp").read_bytes())
        answer = client.get(f"/files/{DATE}/a.jpg", headers={"accept": accept})
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize(
    ("accept", "name", "media_type", "image_format"),
    [
        ("image/jpeg", "a b.png", "image/jpeg", "JPEG"),
        ("image/jpg", "a b.png", "image/jpeg", "JPEG"),
        ("IMAGE/WEBP", "a b.png", "image/webp", "WEBP"),
        ("image/png", "a.jpg", "image/png", "PNG"),
        ("image/jpg", "a.jpg", "image/jpeg", "JPEG"),
    ],
)
def test_defect_b8_exactly_one_other_format_is_converted_to(
    client: TestClient,
    folder: Path,
    accept: str,
    name: str,
    media_type: str,
    image_format: str,
) -> None:
    answer = client.get(f"/files/{DATE}/{name}", headers={"accept": accept})
    assert answer.headers["content-type"] == media_type
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.format == image_format


def test_transparency_becomes_white_in_jpeg(client: TestClient, folder: Path) -> None:
    answer = client.get(f"/files/{DATE}/a b.png", headers={"accept": "image/jpeg"})
    assert Image.open(io.BytesIO(answer.content)).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize(
    "path",
    [
        f"{DATE}/missing.png",
        f"{DATE}/folder.png",
        f"{DATE}/.hidden.png",
        f"{DATE}/link.png",
        f"{DATE}/a.html",
        f"{DATE}/a.svg",
        f"{DATE}/a.jpg/",
        f"{DATE}/..%2foutside.png",
        f"{DATE}/..%5coutside.png",
        f"{DATE}/%2e%2e%2foutside.png",
        f"{DATE}/a.jpg%00.png",
        f"{DATE}/{'x' * 300}.png",
        "%2e%2e/files/a.png",
        "..%2f..%2fetc%2fpasswd",
        "2024-1-31/a.png",
        "٢٠٢٤-01-31/a.png",
        "nothing/a.png",
    ],
)
def test_b50_anything_else_is_404(client: TestClient, folder: Path, path: str) -> None:
    answer = client.get(f"/files/{path}")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize(
    ("ranges", "start", "stop"),
    [("bytes=2-5", 2, 6), ("bytes=10-", 10, None), ("bytes=-4", -4, None)],
)
def test_a_range_is_answered_with_those_bytes(
    client: TestClient, folder: Path, ranges: str, start: int, stop: int | None
) -> None:
    answer = client.get(f"/files/{DATE}/a.jpg", headers={"range": ranges})
    content = (folder / "a.jpg").read_bytes()
    assert (answer.status_code, answer.content) == (206, content[start:stop])
    assert answer.headers["Content-Range"].endswith(f"/{len(content)}")


def test_a_file_that_cannot_be_converted_is_served_as_it_is(
    client: TestClient, folder: Path
) -> None:
    (folder / "odd.png").write_bytes(b"no picture")
    answer = client.get(f"/files/{DATE}/odd.png", headers={"accept": "image/jpeg"})
    assert (answer.status_code, answer.content) == (200, b"no picture")
    assert answer.headers["content-type"] == "image/png"
