"""One server for all bad inputs, so that each costs some milliseconds only."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from fooocus_core.choices import ControlKind, DescribeKind, InpaintEngine
from fooocus_core.config import CoreConfig
from fooocus_core.downloads import UPSCALER, describe_files, image_prompt_files, inpaint_files
from fooocus_core.params import ControlParams
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.conftest import make_core, touch
from tests.fakes import FakeEngine

MAX_S = 1.0


class Prober(TestClient):
    """A client that holds every answer against what is promised for any input.

    Attributes:
        outputs: The output folder of the server.
    """

    outputs: Path

    def request(self, *arguments: Any, **options: Any) -> httpx.Response:
        """An answer that came soon, is no failure of the server, and if refused left no file."""
        files = self.files()
        # Of this process alone: what else runs on the machine does not count.
        began = time.process_time()
        answer = super().request(*arguments, **options)
        spent = time.process_time() - began
        assert answer.status_code < 500, answer.text
        assert spent < MAX_S, f"{spent} s"
        assert answer.headers["X-Request-ID"]
        if answer.status_code >= 400:
            assert not self.files() - files
        return answer

    def files(self) -> set[Path]:
        """Every picture and every kept input."""
        # Unlike Path.rglob, it does not mind what is removed meanwhile.
        return {
            Path(parent) / name
            for folder in ("files", "inputs")
            for parent, _, names in os.walk(self.outputs / folder)
            for name in names
        }


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> CoreConfig:
    """A configuration with every model file there but empty."""
    core = make_core(tmp_path_factory.mktemp("bad-input"))
    touch(core, (UPSCALER, *inpaint_files(InpaintEngine.V2_6)))
    for kind in ControlKind:
        touch(core, image_prompt_files(kind, ControlParams()))
    for described in DescribeKind:
        touch(core, describe_files(described))
    return core


@pytest.fixture(scope="session")
def engine() -> FakeEngine:
    """The engine of the server."""
    return FakeEngine()


@pytest.fixture(scope="session")
def client(core: CoreConfig, engine: FakeEngine) -> Iterator[Prober]:
    """A client of the server."""
    settings = Settings(outputs=core.folders.outputs, shutdown_grace_s=0)
    app = create_app(settings, core, lambda: engine)
    with Prober(app, raise_server_exceptions=False) as client:
        client.outputs = core.folders.outputs
        yield client
