"""Missing files that a job may fetch, and those for which no job is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from fastapi.testclient import TestClient

from fooocus_core.catalog import Catalog
from fooocus_core.choices import InpaintEngine, SamModel
from fooocus_core.config import CoreConfig, FetchRules
from fooocus_core.downloads import GROUNDING_DINO, ModelFile, inpaint_files, sam_file
from fooocus_core.errors import DownloadError
from fooocusapi.app import create_app
from fooocusapi.exceptions import ModelMissingError
from fooocusapi.needed_files import NeededFiles
from fooocusapi.settings import Settings
from tests.fakes import FakeEngine, Script
from tests.pictures import as_base64, encode, plain

URL, UPSCALE = "/v1/generation/text-to-image", "/v2/generation/image-upscale-vary"
QUIET: dict[str, Any] = {"aspect_ratios_selection": "64*64", "style_selections": []}
BASE = "juggernautXL_v8Rundiffusion.safetensors"
LORA = "sd_xl_offset_example-lora_1.0.safetensors"
Make = Callable[..., TestClient]


@pytest.fixture
def make(settings: Settings, core: CoreConfig, engine: FakeEngine) -> Iterator[Make]:
    """Starts an app over folders without base model and LoRA, with these rules of fetching."""
    (core.folders.checkpoints[0] / BASE).unlink()
    (core.folders.loras[0] / LORA).unlink()
    with ExitStack() as stack:

        def make(*, defaults: Mapping[str, Any] = MappingProxyType({}), **rules: Any) -> TestClient:
            changed = replace(
                core,
                fetching=FetchRules(**rules),
                defaults=replace(core.defaults, **defaults),
            )
            app = create_app(settings, changed, lambda: engine)
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield make


def test_files_of_the_preset_that_can_be_fetched_count_as_there(
    make: Make, engine: FakeEngine
) -> None:
    answer = make(is_allowed=True).post(URL, json=QUIET)
    assert answer.status_code == 200
    assert "X-Fooocus-Warning" not in answer.headers
    asked = engine.asked[-1].models
    assert (asked.base, [lora.name for lora in asked.loras]) == (BASE, [LORA])


def test_they_count_as_there_where_the_request_names_them(make: Make, engine: FakeEngine) -> None:
    loras = [{"model_name": LORA, "weight": 0.5}, {"model_name": "other.safetensors"}]
    answer = make(is_allowed=True).post(
        URL, json={**QUIET, "base_model_name": BASE, "loras": loras}
    )
    assert answer.status_code == 200
    asked = engine.asked[-1].models
    assert (asked.base, [lora.name for lora in asked.loras]) == (BASE, [LORA])
    assert BASE not in answer.headers["X-Fooocus-Warning"]
    assert "other.safetensors" in answer.headers["X-Fooocus-Warning"]


def test_a_file_that_only_the_request_names_is_never_fetched(
    make: Make, engine: FakeEngine
) -> None:
    body = {**QUIET, "base_model_name": "animaPencilXL_v500.safetensors"}
    answer = make(is_allowed=True).post(URL, json=body)
    assert "animaPencilXL_v500.safetensors" in answer.headers["X-Fooocus-Warning"]
    assert engine.asked[-1].models.base == BASE


@pytest.mark.parametrize(
    "rules", [{}, {"is_allowed": True, "skips_presets": True}], ids=["off", "no preset"]
)
def test_where_they_may_not_be_fetched_no_job_is_made(make: Make, rules: dict[str, bool]) -> None:
    client = make(**rules)
    answer = client.post(URL, json=QUIET)
    assert answer.status_code == 503
    assert BASE in answer.json()["detail"]
    assert client.get("/v1/generation/job-queue").json()["last_job_id"] is None


def test_the_files_of_a_feature_and_a_mode_count_as_there(make: Make, engine: FakeEngine) -> None:
    client = make(is_allowed=True)
    body = {**QUIET, "uov_method": "Upscale (2x)", "performance_selection": "Lightning"}
    picture = as_base64(encode(plain(96, 80)))
    assert client.post(UPSCALE, json={**body, "input_image": picture}).status_code == 200


def test_what_nobody_offers_is_refused(make: Make) -> None:
    client = make(defaults={"refiner": "gone.safetensors"}, is_allowed=True)
    answer = client.post(URL, json=QUIET)
    assert answer.status_code == 503
    assert "gone.safetensors" in answer.json()["detail"]


def test_a_job_whose_download_fails_says_why(make: Make, engine: FakeEngine) -> None:
    engine.play(Script(failure=DownloadError("a.safetensors could not be fetched: no network.")))
    answer = make(is_allowed=True).post(URL, json=QUIET)
    assert answer.status_code == 200
    assert answer.json()[0]["finish_reason"] == "ERROR"
    assert "a.safetensors could not be fetched" in answer.headers["X-Fooocus-Error"]


@pytest.mark.parametrize(
    "files",
    [inpaint_files(InpaintEngine.V1), (GROUNDING_DINO, sam_file(SamModel.VIT_B))],
    ids=["inpaint patch", "what a text names"],
)
def test_no_published_file_is_offered_for_the_embedded_model(
    core: CoreConfig, files: tuple[ModelFile, ...]
) -> None:
    tiny = replace(core, preset="tiny")
    needed = NeededFiles(core=tiny, catalog=Catalog(core.folders))
    with pytest.raises(ModelMissingError, match="start with another preset") as caught:
        needed.require(files)
    text = str(caught.value)
    assert "curl" not in text
    assert all(file.name in text for file in files)
    assert f"models/{files[0].kind}" in text
    assert "python main.py download --all" in text
