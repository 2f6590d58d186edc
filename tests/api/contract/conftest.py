"""One server for all tests of a file: each looks at one sentence of the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from fooocus_core.choices import ControlKind, InpaintEngine
from fooocus_core.config import CoreConfig, load_config
from fooocus_core.downloads import UPSCALER, image_prompt_files, inpaint_files
from fooocus_core.params import ControlParams
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.fakes import FakeEngine


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> CoreConfig:
    """The default configuration over a folder with model files that are there but empty."""
    root = tmp_path_factory.mktemp("root")
    core = load_config(root=root, environ={})
    kinds = (image_prompt_files(kind, ControlParams()) for kind in ControlKind)
    files = [
        UPSCALER,
        *inpaint_files(InpaintEngine.V2_6),
        *(file for some in kinds for file in some),
    ]
    folders = core.folders
    paths = [
        *(getattr(folders, file.kind)[0] / file.name for file in files),
        folders.checkpoints[0] / core.defaults.model,
        *(folders.loras[0] / lora.name for lora in core.defaults.loras),
        folders.loras[0] / "painting.safetensors",
    ]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return core


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    """The engine of the server."""
    return FakeEngine()


@pytest.fixture(scope="module")
def client(core: CoreConfig, engine: FakeEngine) -> Iterator[TestClient]:
    """A client of the server."""
    settings = Settings(outputs=core.folders.outputs, shutdown_grace_s=0)
    app = create_app(settings, core, lambda: engine)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
