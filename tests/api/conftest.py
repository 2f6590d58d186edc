"""Fixtures for tests of the interface: an app for many tests, and a server in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from fooocus_core.config import CoreConfig
from fooocus_core.feature_files import feature_files
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.background import serving_app
from tests.conftest import make_core, touch
from tests.fakes import FakeEngine

STEP_S = 0.02


@pytest.fixture
def every_model(core: CoreConfig) -> None:
    """All files that features need, there but empty."""
    touch_every_model(core)


def touch_every_model(core: CoreConfig) -> None:
    """Make empty files in place of all that features need."""
    for files in feature_files().values():
        touch(core, files)


@dataclass(frozen=True, kw_only=True)
class App:
    """An app that serves, with all files that features need there but empty."""

    client: TestClient
    engine: FakeEngine
    core: CoreConfig


MakeApp = Callable[..., App]


@contextmanager
def running_app(root: Path, **changes: Any) -> Iterator[App]:
    """An app over this folder, whose settings differ from the default ones as stated."""
    core = make_core(root)
    touch_every_model(core)
    settings = Settings(outputs=core.folders.outputs, shutdown_grace_s=0, **changes)
    engine = FakeEngine()
    app = create_app(settings, core, lambda: engine)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield App(client=client, engine=engine, core=core)


@pytest.fixture(scope="module")
def module_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app of all tests of a module that only ask it for something."""
    with running_app(tmp_path_factory.mktemp("app")) as app:
        yield app


@pytest.fixture
def shared_app(module_app: App) -> App:
    """The same for one test: what it waited for is what the engine was asked for last.

    Jobs are made in order, so this holds even if a test before has not waited for its own.
    """
    module_app.engine.asked.clear()
    return module_app


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    """Starts an app of a test's own, so that it can take files away or have other settings."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(running_app(tmp_path, **changes))


def refusal(answer: Any, *location: str | int) -> str:
    """What is said of the first wrong value of a body, which stands at this place."""
    assert answer.status_code == 422, answer.text
    first = answer.json()["detail"][0]
    assert first["loc"] == ["body", *location]
    text: str = first["msg"]
    return text


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server in this process, which takes a little time for small pictures."""
    core = make_core(tmp_path_factory.mktemp("server"))
    touch_every_model(core)
    settings = Settings(outputs=core.folders.outputs, shutdown_grace_s=0)
    engine = FakeEngine(pace=lambda: time.sleep(STEP_S), size=(16, 16))
    with serving_app(settings, core, lambda: engine) as address:
        yield address
