"""B17 to B19 and B22 to B26: choices, names of models and files, addresses of receivers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.bad_input.conftest import Prober
from tests.conftest import MakeClient
from tests.fakes import FakeEngine
from tests.pictures import as_base64, encode, plain
from tests.refusals import refused

URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}
PICTURE = as_base64(encode(plain(64, 64)))


@pytest.mark.parametrize("value", ["Sped", "speed", "SPEED", "", "Lightening", 5, None])
def test_b17_performance(client: Prober, value: object) -> None:
    answer = client.post(URL, json={**SMALL, "performance_selection": value})
    if value is None:
        assert answer.status_code == 200
    else:
        refused(answer, "performance_selection", says="'Extreme Speed', 'Lightning'")


@pytest.mark.parametrize("value", ["Upscale (3x)", "Vary", "", 1])
def test_b17_uov_method(client: Prober, value: object) -> None:
    body = {"input_image": PICTURE, "uov_method": value}
    answer = client.post("/v2/generation/image-upscale-vary", json=body)
    refused(answer, "uov_method", says="Vary (Subtle)")


@pytest.mark.parametrize("value", ["Depth", "Canny", "", 1])
def test_b17_cn_type(client: Prober, value: object) -> None:
    body = {"image_prompts": [{"cn_img": PICTURE, "cn_type": value}]}
    answer = client.post("/v2/generation/image-prompt", json=body)
    refused(answer, "image_prompts", 0, "cn_type", says="PyraCanny")


UNKNOWN: dict[str, tuple[dict[str, Any], str, str]] = {
    "style": ({"style_selections": ["Fooocus Sharpp"]}, "Fooocus Sharp", "style_selections"),
    "sampler": ({"advanced_params": {"sampler_name": "dpmpp_2n"}}, "dpmpp_2m", "advanced_params"),
    "scheduler": ({"advanced_params": {"scheduler_name": "karas"}}, "karras", "advanced_params"),
    "engine": ({"advanced_params": {"inpaint_engine": "v2.7"}}, "v2.6", "advanced_params"),
    "VAE": ({"advanced_params": {"vae_name": "soft.safetensor"}}, "soft", "advanced_params"),
    "model": ({"base_model_name": "juggernautXL_v8"}, "juggernautXL_v8Run", "base_model_name"),
    "LoRA": ({"loras": [{"model_name": "paintin.safetensors"}]}, "painting", "loras"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_b17a_unknown_names_are_told_with_what_was_meant(client: Prober, what: str) -> None:
    fields, meant, _ = UNKNOWN[what]
    answer = client.post(URL, json={**SMALL, **fields})
    assert answer.status_code == 200
    assert meant in answer.headers["X-Fooocus-Warning"]


def test_b17a_strict_servers_refuse_unknown_names(make_client: MakeClient) -> None:
    strict = make_client(strict=True)
    for what, (fields, meant, place) in UNKNOWN.items():
        if what != "model":
            refused(strict.post(URL, json={**SMALL, **fields}), place, says=meant[:4])


PATHS = [
    "../../etc/passwd",
    "/etc/passwd",
    "a\\..\\b",
    "C:\\x",
    "\\\\host\\share\\x",
    "//host/share/x",
    "a\0b",
    "x" * 5000,
]


@pytest.mark.parametrize("field", ["base_model_name", "refiner_model_name"])
@pytest.mark.parametrize("name", PATHS, ids=lambda name: f"{name[:20]!a}")
def test_b18_names_that_are_paths(client: Prober, field: str, name: str) -> None:
    refused(client.post(URL, json={field: name}), field, says="all-models")


@pytest.mark.parametrize("name", PATHS[:-1], ids=ascii)
def test_b18_loras_that_are_paths(client: Prober, name: str) -> None:
    answer = client.post(URL, json={**SMALL, "loras": [{"model_name": name}]})
    refused(answer, "loras", 0, "model_name", says="all-models")


def test_b18_case_counts_where_the_disk_says_so(client: Prober, engine: FakeEngine) -> None:
    answer = client.post(URL, json={**SMALL, "base_model_name": "FOLDER/Other.safetensors"})
    assert answer.status_code == 200
    is_found = engine.asked[-1].models.base == "folder/other.safetensors"
    assert is_found or "X-Fooocus-Warning" in answer.headers


@pytest.mark.parametrize("weight", [2.1, -2.1, 1e6, "heavy"])
def test_b19_lora_weights(client: Prober, weight: object) -> None:
    loras = [{"model_name": "a"}, {"model_name": "b", "weight": weight}]
    refused(client.post(URL, json={"loras": loras}), "loras", 1, "weight")


def test_b19_many_loras(client: Prober, engine: FakeEngine) -> None:
    loras = [{"model_name": "painting.safetensors", "weight": 0.1}] * 100
    answer = client.post(URL, json={**SMALL, "loras": loras})
    if answer.status_code == 200:
        assert len(engine.asked[-1].models.loras) == 5
        assert "5" in answer.headers["X-Fooocus-Warning"]
    else:
        refused(answer, "loras")


def test_b19_the_same_lora_twice_is_applied_twice(client: Prober, engine: FakeEngine) -> None:
    loras = [{"model_name": "painting.safetensors", "weight": weight} for weight in (0.5, 0.25)]
    assert client.post(URL, json={**SMALL, "loras": loras}).status_code == 200
    assert [lora.weight for lora in engine.asked[-1].models.loras] == [0.5, 0.25]


def test_b22_misspelt_fields(client: Prober, make_client: MakeClient) -> None:
    body = {**SMALL, "aspect_ratios_selections": "64*64"}
    assert "aspect_ratios_selection" in client.post(URL, json=body).headers["X-Fooocus-Warning"]
    refused(make_client(strict=True).post(URL, json=body), "aspect_ratios_selections")


@pytest.mark.parametrize(
    "name",
    ["../../x", "/tmp/x", "a/b", "CON", "x" * 300, "", "🦊", "x\0y", "..", ".", " ", "a\nb", "狐"],
    ids=ascii,
)
def test_b23_names_of_files(client: Prober, name: str) -> None:
    before = client.files()
    (item,) = client.post(URL, json={**SMALL, "save_name": name}).json()
    assert item["finish_reason"] == "SUCCESS"
    (made,) = client.files() - before
    assert made.parent.parent == client.outputs / "files"
    assert not made.name.startswith(".")
    assert client.get(item["url"]).content == made.read_bytes()


def test_b23_the_same_name_at_the_same_time(client: Prober) -> None:
    before = client.files()

    def post(_number: int) -> Any:
        return super(Prober, client).request("POST", URL, json={**SMALL, "save_name": "same"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()[0]["url"] for answer in answers}) == 8
    assert len(client.files() - before) == 8


@pytest.mark.parametrize("value", ["exe", "../png", "svg", "", "png/../x", "gif", 5])
def test_b24_extensions(client: Prober, value: object) -> None:
    refused(client.post(URL, json={"save_extension": value}), "save_extension", says="'webp'")


@pytest.mark.parametrize("value", ["other", "A1111x", "", 5])
def test_b25_schemes_of_metadata(client: Prober, value: object) -> None:
    refused(client.post(URL, json={"meta_scheme": value}), "meta_scheme", says="'a1111'")


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A socket that must not be contacted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener
        listener.settimeout(0.05)
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
        "ftp://127.0.0.1:{port}/",
        "javascript:alert(1)",
        "http://",
        "http:///127.0.0.1:{port}",
        "http://127.0.0.1:{port}/" + "x" * 10_000,
        "http://user:secret@127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "127.0.0.1:{port}",
    ],
    ids=lambda url: url[:30],
)
def test_b26_receivers_that_are_none(client: Prober, url: str) -> None:
    with listening() as listener:
        address = url.format(port=listener.getsockname()[1])
        answer = client.post(URL, json={**SMALL, "webhook_url": address})
        assert answer.status_code == 200
        assert "webhook_url" in answer.headers["X-Fooocus-Warning"]
        assert "secret" not in answer.headers["X-Fooocus-Warning"]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("prompt", 5, "string"),
        ("style_selections", 5, "list"),
        ("style_selections", [5], "string"),
        ("require_base64", "perhaps", "boolean"),
        ("loras", "no list", "list"),
    ],
)
def test_values_of_another_type_are_refused(
    client: Prober, field: str, value: object, says: str
) -> None:
    refused(client.post(URL, json={field: value}), field, says=says)


def test_more_styles_than_there_can_be_are_refused(client: Prober) -> None:
    assert client.post(URL, json={**SMALL, "style_selections": ["x"] * 300}).status_code == 200
    body = {"style_selections": ",".join(["x"] * 301)}
    refused(client.post(URL, json=body), "style_selections", says="300")
