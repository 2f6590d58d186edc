"""A client that a program has made from docs/openapi.json."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.deadline import wait_until
from tests.pictures import as_data_url, encode, plain
from tools.write_openapi import TARGET

NAME = "made_client"
# Nothing is formatted afterwards, and pictures are bytes.
CONFIG = """
post_hooks: []
content_type_overrides:
  image/png: application/octet-stream
  image/jpeg: application/octet-stream
  image/webp: application/octet-stream
  application/problem+json: application/json
"""
# Where a body has two encodings and nothing else is sent, it forgets to import a name.
BROKEN_BY_GENERATOR = {"api.tools.generate_mask", "api.tools.read_metadata"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the client, which can be imported from."""
    folder = tmp_path_factory.mktemp("client")
    config = folder / "config.yaml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    places = ["--path", TARGET, "--output-path", folder / NAME, "--config", config]
    done = subprocess.run(
        [*command, *map(str, places)], capture_output=True, text=True, check=True, cwd=folder
    )
    assert "WARNING" not in done.stdout
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder / NAME
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


@pytest.fixture
def client(made: Path, address: str) -> Iterator[Any]:
    with ExitStack() as stack:
        yield stack.enter_context(part("client").Client(base_url=address))


def part(name: str) -> ModuleType:
    return importlib.import_module(f"{NAME}.{name}")


def models() -> Any:
    return part("models")


def test_it_has_every_operation_and_all_of_it_can_be_imported(made: Path) -> None:
    names = [
        ".".join(file.relative_to(made).with_suffix("").parts)
        for file in made.rglob("*.py")
        if file.name != "__init__.py"
    ]
    for name in set(names) - BROKEN_BY_GENERATOR:
        part(name)
    operations = [name for name in names if name.startswith("api.")]
    assert len(operations) == TARGET.read_text(encoding="utf-8").count('"operationId"')


def test_it_makes_a_picture_from_words(client: Any) -> None:
    lora = models().Lora(model_name="painting.safetensors", weight=0.3)
    body = models().TextToImageRequest(prompt="a fox", image_seed=2**62, loras=[lora])
    (item,) = part("api.generation.text_to_image").sync(client=client, body=body)
    assert (item.seed, item.finish_reason) == (str(2**62), models().FinishReason.SUCCESS)
    assert httpx.get(item.url).headers["content-type"] == "image/png"


def test_it_follows_a_job(client: Any) -> None:
    body = models().TextToImageRequest(prompt="a fox", async_process=True)
    accepted = part("api.generation.text_to_image").sync(client=client, body=body)
    assert accepted.job_type == models().JobKind.TEXT_TO_IMAGE
    query = part("api.jobs.query_job").sync

    def ask() -> Any:
        return query(client=client, job_id=accepted.job_id, require_step_preview=True)

    wait_until(lambda: ask().job_stage == models().JobStage.SUCCESS)
    ended = ask()
    assert (ended.job_progress, len(ended.job_result)) == (100, 1)


def test_it_lets_pictures_guide_as_a_form_and_as_json(client: Any) -> None:
    picture = encode(plain(16, 16))
    upload = part("types").File(payload=picture, file_name="a.png", mime_type="image/png")
    kind = models().ControlKind.PYRACANNY
    form = models().ImagePromptRequestForm(prompt="a fox", cn_img1=upload, cn_type1=kind)
    (item,) = part("api.generation.image_prompt_v1").sync(client=client, body=form)
    assert item.finish_reason == models().FinishReason.SUCCESS
    prompt = models().ImagePrompt(cn_img=as_data_url(picture), cn_type=kind, cn_stop=0.4)
    body = models().ImagePromptV2(prompt="a fox", image_prompts=[prompt])
    (item,) = part("api.generation.image_prompt_v2").sync(client=client, body=body)
    assert item.finish_reason == models().FinishReason.SUCCESS


def test_it_reads_what_is_refused(client: Any) -> None:
    body = models().TextToImageRequest(image_number=0)
    refused = part("api.generation.text_to_image").sync(client=client, body=body)
    assert refused.detail[0].loc == ["body", "image_number"]
    unknown = part("api.jobs.get_job").sync(client=client, job_id="nobody")
    assert unknown.code == "job_not_found"
