"""Fixtures used in several folders."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from filelock import FileLock

from fooocus_core.choices import ControlKind, InpaintEngine
from fooocus_core.config import CoreConfig, load_config
from fooocus_core.downloads import UPSCALER, ModelFile, image_prompt_files, inpaint_files
from fooocus_core.params import ControlParams
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.expansion_files import make_expansion_folder
from tests.fakes import FakeEngine
from tests.golden import GOLDEN
from tests.hub import FakeHub
from tests.servers import Running, running

# Read when the hub's library is loaded: it would ask the hub for a list to report its user by.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

MakeClient = Callable[..., TestClient]
Start = Callable[..., Running]


def pytest_collection() -> None:
    """Look for no garbage while there is next to none: libraries are loaded, and tests found."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays to the end: thousands of tests, and the libraries."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models root with the synthetic weights that the golden vectors were recorded with.

    The first process of a run makes them, the others link to its files: each has its own folders.
    """
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made_weights"
    with FileLock(f"{made}.lock"):
        if not made.exists():
            script = [sys.executable, str(GOLDEN / "make_weights.py"), f"{made}.part"]
            subprocess.run(script, check=True, capture_output=True)
            Path(f"{made}.part").rename(made)
    root = tmp_path_factory.mktemp("weights")
    return Path(shutil.copytree(made, root, copy_function=os.link, dirs_exist_ok=True))


@pytest.fixture(scope="session")
def expansion_folder(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small prompt expansion with all its files."""
    folder = tmp_path_factory.mktemp("expansion") / "fooocus_expansion"
    return make_expansion_folder(weights, folder)


@pytest.fixture
def core(tmp_path: Path) -> CoreConfig:
    """The default configuration over a folder with model files that are there but empty."""
    return make_core(tmp_path)


def make_core(root: Path) -> CoreConfig:
    """The same over any folder."""
    for name in (
        "checkpoints/juggernautXL_v8Rundiffusion.safetensors",
        "checkpoints/folder/other.safetensors",
        "loras/sd_xl_offset_example-lora_1.0.safetensors",
        "loras/painting.safetensors",
        "vae/soft.safetensors",
    ):
        path = root / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return load_config(root=root, environ={})


@pytest.fixture
def picture_models(core: CoreConfig) -> None:
    """Files that pictures are enlarged and inpainted with, there but empty."""
    touch(core, (UPSCALER, *inpaint_files(InpaintEngine.V2_6)))


@pytest.fixture
def guide_models(core: CoreConfig) -> None:
    """Files that pictures of every kind guide with, there but empty."""
    for kind in ControlKind:
        touch(core, image_prompt_files(kind, ControlParams()))


def touch(core: CoreConfig, files: Iterable[ModelFile]) -> None:
    """Make empty files in place of models."""
    for file in files:
        path: Path = getattr(core.folders, file.kind)[0] / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """A hub without files."""
    hub = FakeHub()
    yield hub
    hub.close()


@pytest.fixture
def settings(core: CoreConfig) -> Settings:
    """The default options of the service."""
    return Settings(outputs=core.folders.outputs, shutdown_grace_s=0)


@pytest.fixture
def engine() -> FakeEngine:
    """The engine that the app of this test uses."""
    return FakeEngine()


@pytest.fixture
def make_client(settings: Settings, core: CoreConfig, engine: FakeEngine) -> Iterator[MakeClient]:
    """Starts an app whose settings differ from the default ones as stated."""
    with ExitStack() as stack:

        def make(**changes: Any) -> TestClient:
            app = create_app(settings.model_copy(update=changes), core, lambda: engine)
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield make


@pytest.fixture
def client(make_client: MakeClient) -> TestClient:
    """A client of an app with the default settings."""
    return make_client()


@pytest.fixture
def start(core: CoreConfig, tmp_path: Path) -> Iterator[Start]:
    """Starts a server with these arguments and waits until it serves."""
    with ExitStack() as stack:

        def start(*arguments: str, **environment: str) -> Running:
            places = ["--models-path", tmp_path / "models", "--output-path", tmp_path / "out"]
            server = running("--preset", "default", *places, *arguments, **environment)
            return stack.enter_context(server)

        yield start
