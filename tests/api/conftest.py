"""Fixtures for tests of the interface as its document describes it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fooocus_core.config import CoreConfig
from fooocus_core.feature_files import feature_files
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


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server in this process, which takes a little time for small pictures."""
    core = make_core(tmp_path_factory.mktemp("server"))
    touch_every_model(core)
    settings = Settings(outputs=core.folders.outputs, shutdown_grace_s=0)
    engine = FakeEngine(pace=lambda: time.sleep(STEP_S), size=(16, 16))
    with serving_app(settings, core, lambda: engine) as address:
        yield address
