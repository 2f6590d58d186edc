"""The app that the tests of a module share, by its parts."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import App
from tests.fakes import FakeEngine


@pytest.fixture
def client(shared_app: App) -> TestClient:
    """A client of the shared app."""
    return shared_app.client


@pytest.fixture
def engine(shared_app: App) -> FakeEngine:
    """The engine of the shared app, of which nothing was asked yet."""
    return shared_app.engine
