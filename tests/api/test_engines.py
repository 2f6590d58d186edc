"""What the engine has."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from fooocus_core.config import CoreConfig
from tests.conftest import MakeClient
from tests.fakes import STEPS, FakeEngine, Script

SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/engines/all-models"), ("POST", "/v1/engines/refresh-models")],
)
def test_models_on_disk_are_listed_anew_each_time(
    client: TestClient, core: CoreConfig, method: str, path: str
) -> None:
    lists = client.request(method, path).json()
    assert lists == {
        "model_filenames": [
            "folder/other.safetensors",
            "juggernautXL_v8Rundiffusion.safetensors",
        ],
        "lora_filenames": [
            "painting.safetensors",
            "sd_xl_offset_example-lora_1.0.safetensors",
        ],
    }
    (core.folders.loras[0] / "Anew.ckpt").touch()
    assert "Anew.ckpt" in client.request(method, path).json()["lora_filenames"]


def test_styles_are_listed_in_the_order_of_the_reference(client: TestClient) -> None:
    styles = client.get("/v1/engines/styles").json()
    assert styles[:3] == ["Fooocus V2", "Random Style", "Fooocus Enhance"]
    assert len(styles) == 279


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_f31_memory_is_freed_between_jobs(
    client: TestClient, engine: FakeEngine, method: str
) -> None:
    engine.play(Script(gated=True))
    client.post("/v1/generation/text-to-image", json={**SMALL, "async_process": True})
    engine.gate.wait_for_step()
    asked = threading.Event()

    def clean() -> object:
        asked.set()
        return client.request(method, "/v1/engines/clean_vram").json()

    with ThreadPoolExecutor() as pool:
        answer = pool.submit(clean)
        asked.wait()
        assert engine.freed == 0
        assert client.get("/v1/engines/job-queue").json()["running_size"] == 1
        engine.gate.open(STEPS)
        assert answer.result(timeout=30) == {"message": "ok"}
    assert engine.freed == 1


def test_engine_that_cannot_free_memory_is_500(client: TestClient, engine: FakeEngine) -> None:
    engine.free_memory = None  # type: ignore[method-assign,assignment]
    answer = client.get("/v1/engines/clean_vram")
    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error"})


def test_models_can_be_loaded_before_serving(make_client: MakeClient) -> None:
    client = make_client(preload=True)
    assert client.app.state.services.worker.loaded.done()  # type: ignore[attr-defined]
