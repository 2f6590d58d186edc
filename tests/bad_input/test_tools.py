"""B63: tools that are asked for what they cannot do."""

from __future__ import annotations

import pytest

from tests.bad_input.conftest import Prober
from tests.pictures import as_base64, encode, plain
from tests.refusals import refused

DESCRIBE = "/v1/tools/describe-image"
MASK = "/v1/tools/generate_mask"
METADATA = "/v1/tools/read-metadata"
PNG = encode(plain(8, 8))
PICTURE = as_base64(PNG)


@pytest.mark.parametrize("path", [DESCRIBE, MASK, METADATA])
def test_b63_no_file_or_none_that_is_a_picture(client: Prober, path: str) -> None:
    refused(client.post(path, json={}), "image")
    refused(client.post(path, files={"other": PNG}), "image")
    refused(client.post(path, files={"image": ("a.png", b"", "image/png")}), "image")
    refused(client.post(path, files={"image": ("a.png", b"hello", "image/png")}), "image")


@pytest.mark.parametrize("path", [DESCRIBE, MASK, METADATA])
def test_b63_fifty_files(client: Prober, path: str) -> None:
    files = [("image", (f"{number}.png", PNG, "image/png")) for number in range(50)]
    refused(client.post(path, files=files), "image", says="one picture")


@pytest.mark.parametrize("kind", ["Painting", "5", "Photo,Anime", "x" * 5000])
def test_b63_kinds_of_pictures(client: Prober, kind: str) -> None:
    for name in ("type", "image_type"):
        refused(client.post(DESCRIBE, json={"image": PICTURE, name: kind}), name, says="Anime")
        in_query = client.post(f"{DESCRIBE}?{name}={kind}", json={"image": PICTURE})
        assert in_query.status_code == 422
        assert in_query.json()["detail"][0]["loc"] == ["query", name]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("box_threshold", "NaN"),
        ("box_threshold", '"nan"'),
        ("text_threshold", "1e400"),
        ("text_threshold", "1.1"),
        ("sam_max_detections", "11"),
        ("sam_max_detections", "-1"),
        ("sam_max_detections", "1.5"),
        ("dino_erode_or_dilate", "65"),
        ("dino_erode_or_dilate", '"inf"'),
        ("mask_model", '"u3net"'),
        ("sam_model", '"vit_x"'),
        ("sam_model", '"../../x"'),
        ("cloth_category", '"hat"'),
        ("dino_prompt_text", f'"{"x" * 100_000}"'),
        ("dino_prompt_text", "5"),
        ("dino_prompt_text", '"\\ud800"'),
    ],
    ids=lambda text: text[:20],
)
def test_b63_options_of_masks(client: Prober, field: str, text: str) -> None:
    answer = client.post(MASK, content=f'{{"image": "{PICTURE}", "{field}": {text}}}')
    refused(answer, *(() if text == "NaN" else (field,)))


def test_b63_a_picture_without_metadata(client: Prober) -> None:
    refused(client.post(METADATA, json={"image": PICTURE}), "image")
