"""The page per day that shows its pictures."""

from __future__ import annotations

import json
import logging
import re
from datetime import date
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from fastapi.testclient import TestClient

from fooocus_core.choices import MetadataScheme
from fooocus_core.config import CoreConfig
from fooocus_core.events import GeneratedImage, ImageRecord
from fooocusapi.image_log import LOG_FILE, MAX_ENTRIES, ImageLog
from tests.conftest import MakeClient

URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}
DAY = "2026-01-02"


def picture(prompt: str = "a cat", seed: int = 1) -> GeneratedImage:
    record = ImageRecord(
        scheme=MetadataScheme.FOOOCUS,
        text="{}",
        rows=(("Prompt", "prompt", prompt), ("Seed", "seed", str(seed))),
        positive=(prompt, "ink"),
        negative=("blur",),
    )
    return GeneratedImage(image=np.zeros((8, 8, 3), np.uint8), seed=seed, record=record)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / DAY
    path.mkdir()
    return path


@pytest.fixture
def image_log(tmp_path: Path) -> ImageLog:
    return ImageLog(tmp_path)


def names(folder: Path) -> list[str]:
    return re.findall(r'<img src="([^"]+)"', (folder / LOG_FILE).read_text(encoding="utf-8"))


def test_the_newest_picture_stands_first(image_log: ImageLog, folder: Path) -> None:
    for number in range(3):
        image_log.add(DAY, f"{number}.png", picture())
    assert names(folder) == ["2.png", "1.png", "0.png"]


def test_the_record_the_texts_and_a_copy_are_shown(image_log: ImageLog, folder: Path) -> None:
    image_log.add(DAY, "ä b.png", picture(seed=7))
    text = (folder / LOG_FILE).read_text(encoding="utf-8")
    assert names(folder) == ["%C3%A4%20b.png"]
    assert "<th>File</th><td>ä b.png</td>" in text
    assert "<th>Seed</th><td>7</td>" in text
    assert "<th>Full Positive Prompt</th><td>a cat\nink</td>" in text
    assert "<th>Full Negative Prompt</th><td>blur</td>" in text
    copied = re.search(r'data:application/json,([^"]+)"', text)
    assert copied is not None
    assert json.loads(unquote(unescape(copied[1]))) == {"Prompt": "a cat", "Seed": "7"}


def test_nothing_of_a_prompt_becomes_markup(image_log: ImageLog, folder: Path) -> None:
    prompt = '<script>alert("x")</script><!-- picture -->\n\ud800&'
    for number in range(2):
        image_log.add(DAY, f"{number}.png", picture(prompt))
    text = (folder / LOG_FILE).read_text(encoding="utf-8")
    assert "<script" not in text
    assert text.count("<!-- picture -->") == 2
    assert names(folder) == ["1.png", "0.png"]


def test_a_picture_without_record_is_shown_with_its_seed(image_log: ImageLog, folder: Path) -> None:
    image = GeneratedImage(image=np.zeros((8, 8, 3), np.uint8), seed=9, record=None)
    image_log.add(DAY, "a.png", image)
    assert "<th>Seed</th><td>9</td>" in (folder / LOG_FILE).read_text(encoding="utf-8")


def test_the_page_shows_the_newest_ones_only(image_log: ImageLog, folder: Path) -> None:
    image_log.add(DAY, "old.png", picture())
    page = folder / LOG_FILE
    head, entry = page.read_text(encoding="utf-8").split("<!-- picture -->\n")
    page.write_text("<!-- picture -->\n".join([head, *[entry] * MAX_ENTRIES]), encoding="utf-8")
    image_log.add(DAY, "new.png", picture())
    assert names(folder) == ["new.png", *["old.png"] * (MAX_ENTRIES - 1)]


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["no folder", "not UTF-8"])
def test_a_page_that_cannot_be_written_leaves_a_warning_and_no_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / DAY).mkdir()
        (tmp_path / DAY / LOG_FILE).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        ImageLog(tmp_path).add(DAY, "a.png", picture())
    assert "cannot be written" in caplog.text
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ([] if content is None else [tmp_path / DAY / LOG_FILE])


def test_defect_b13_finished_pictures_are_answered_although_no_page_is_written(
    make_client: MakeClient, core: CoreConfig
) -> None:
    page = core.folders.outputs / "files" / date.today().isoformat() / LOG_FILE
    client = make_client(image_log=False)
    (item,) = client.post(URL, json=SMALL).json()
    assert client.get(item["url"].removeprefix("http://127.0.0.1:8888")).status_code == 200
    assert not page.exists()
    make_client().post(URL, json={**SMALL, "image_number": 2})
    assert len(names(page.parent)) == 2


def test_the_page_itself_is_not_served(client: TestClient) -> None:
    client.post(URL, json=SMALL)
    assert client.get(f"/files/{date.today().isoformat()}/{LOG_FILE}").status_code == 404
