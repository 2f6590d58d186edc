"""Files that a job needs and that are fetched while it waits for them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fooocus_core.catalog import ModelKind
from fooocus_core.config import DeviceOptions, FetchRules, load_config
from fooocus_core.downloads import IP_NEGATIVE, ModelFile
from fooocus_core.engine import create_engine
from fooocus_core.errors import DownloadError, ModelNotFoundError, RunCancelled
from fooocus_core.events import CancelToken, Event, Progress
from fooocus_core.params import CanvasParams, GenerationParams, ModelParams, SamplingParams, Size
from fooocus_core.remote_files import HUB
from fooocus_core.workflows.resources import Resources
from tests.hub import FakeHub, Fault
from tests.workflow_parts import Listener, make_resources

BASE = "tiny_sdxl.safetensors"
CONTENT = bytes(65_616)


@pytest.fixture
def resources(tmp_path: Path, hub: FakeHub) -> Resources:
    """Over empty folders; the hub has a companion file of the published size."""
    hub.put("lllyasviel/misc/fooocus_ip_negative.safetensors", CONTENT)
    resources = make_resources(tmp_path / "models", tmp_path)
    rules = FetchRules(is_allowed=True, mirror=hub.url, pauses_s=())
    config = replace(resources.config, folders=replace(resources.config.folders, temp=tmp_path))
    return replace(resources, config=replace(config, fetching=rules))


def test_a_missing_file_is_fetched_and_the_caller_sees_how_far_it_is(resources: Resources) -> None:
    listener = Listener()
    listener.reporter.percent = 1
    resources.require([IP_NEGATIVE], listener.reporter)
    assert resources.catalog.find(IP_NEGATIVE.kind, IP_NEGATIVE.name).read_bytes() == CONTENT
    text = "Downloading fooocus_ip_negative.safetensors, 66 kB of 66 kB ..."
    assert listener.progress[-1] == (1, text)


def test_a_file_that_is_there_is_not_fetched_and_nothing_is_said(
    resources: Resources, hub: FakeHub
) -> None:
    resources.require([IP_NEGATIVE], Listener().reporter)
    hub.asked.clear()
    listener = Listener()
    resources.require([IP_NEGATIVE], listener.reporter)
    assert (listener.events, hub.asked) == ([], [])


def test_a_stop_ends_the_fetching(resources: Resources) -> None:
    listener = Listener()
    listener.token.cancel()
    with pytest.raises(RunCancelled):
        resources.require([IP_NEGATIVE], listener.reporter)


def test_the_reason_of_a_failure_names_file_and_cause(resources: Resources, hub: FakeHub) -> None:
    hub.forget()
    with pytest.raises(DownloadError, match=r"fooocus_ip_negative.*status 404"):
        resources.require([IP_NEGATIVE], Listener().reporter)


def test_without_an_address_or_leave_the_folder_is_named(resources: Resources) -> None:
    mine = ModelFile(kind=ModelKind.CONTROLNET, name="mine.safetensors")
    with pytest.raises(ModelNotFoundError, match="controlnet"):
        resources.require([mine], Listener().reporter)
    off = replace(resources, config=replace(resources.config, fetching=FetchRules()))
    with pytest.raises(ModelNotFoundError, match="controlnet"):
        off.require([IP_NEGATIVE], Listener().reporter)


def test_a_job_fetches_its_base_model_and_goes_on(
    weights: Path, tmp_path: Path, hub: FakeHub
) -> None:
    hub.put("owner/name/base", (weights / "checkpoints" / BASE).read_bytes())
    hub.faults.append(Fault(ends_after=50_000))
    lists = {"checkpoint_downloads": f"{{'{BASE}': '{HUB}/owner/name/resolve/main/base'}}"}
    config = load_config(root=tmp_path, models_path=tmp_path / "models", environ=lists)
    rules = FetchRules(is_allowed=True, mirror=hub.url, pauses_s=(0,))
    (tmp_path / "outputs").mkdir()
    engine = create_engine(replace(config, fetching=rules), DeviceOptions())
    params = GenerationParams(
        models=ModelParams(base=BASE),
        canvas=CanvasParams(size=Size(64, 64), seed=4),
        sampling=SamplingParams(steps=1),
    )
    events: list[Event] = []
    (picture,) = engine.generate(params, events.append, CancelToken())
    assert picture.image.shape == (64, 64, 3)
    texts = [event.text for event in events if isinstance(event, Progress)]
    assert any(text.startswith(f"Downloading {BASE}, ") for text in texts)


@pytest.fixture
def preset_hub(weights: Path, hub: FakeHub) -> FakeHub:
    """A hub with the model of a preset, and without its companions."""
    hub.put("owner/name/base", (weights / "checkpoints" / BASE).read_bytes())
    return hub


def test_loading_fetches_what_the_preset_needs_and_a_failure_only_leaves_its_file_out(
    tmp_path: Path, preset_hub: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {
        "default_model": BASE,
        "default_loras": "[]",
        "lora_downloads": "{}",
        "checkpoint_downloads": f"{{'{BASE}': '{HUB}/owner/name/resolve/main/base'}}",
    }
    config = load_config(root=tmp_path, models_path=tmp_path / "models", environ=environ)
    rules = FetchRules(is_allowed=True, mirror=preset_hub.url, pauses_s=())
    create_engine(replace(config, fetching=rules), DeviceOptions()).load()
    assert (tmp_path / "models" / "checkpoints" / BASE).exists()
    assert "xlvaeapp.pth could not be fetched" in caplog.text
    last = [path for _, path, _ in preset_hub.asked][-1]
    assert last.endswith("/base")


def test_loading_gives_way_where_it_is_told_to(tmp_path: Path, preset_hub: FakeHub) -> None:
    config = load_config(root=tmp_path, models_path=tmp_path / "models", environ={})
    rules = FetchRules(is_allowed=True, mirror=preset_hub.url, pauses_s=())

    def give_way() -> None:
        raise RunCancelled

    with pytest.raises(RunCancelled):
        create_engine(replace(config, fetching=rules), DeviceOptions()).load(give_way)
    assert preset_hub.asked == []


def test_f20_loading_with_all_files_there_asks_nobody(
    weights: Path, tmp_path: Path, preset_hub: FakeHub
) -> None:
    shutil.copytree(weights, tmp_path / "models")
    for name in ("xlvaeapp.pth", "vaeapp_sd15.pth", "xl-to-v1_interposer-v4.0.safetensors"):
        path = tmp_path / "models" / "vae_approx" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    environ = {
        "default_model": BASE,
        "default_loras": "[]",
        "lora_downloads": "{}",
        "checkpoint_downloads": "{}",
    }
    config = load_config(root=tmp_path, models_path=tmp_path / "models", environ=environ)
    rules = FetchRules(is_allowed=True, mirror=preset_hub.url, pauses_s=())
    create_engine(replace(config, fetching=rules), DeviceOptions()).load()
    assert preset_hub.asked == []
