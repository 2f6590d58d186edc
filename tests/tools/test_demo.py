"""The demonstration asks every generation endpoint for a picture."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from fooocus_core.config import CoreConfig
from fooocus_core.feature_files import feature_files
from tests.conftest import touch
from tests.fakes import FakeEngine
from tools.demo import Asker, call_every_endpoint, contact_sheet


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(size=(32, 32))


def test_every_generation_endpoint_is_called_and_shown(
    make_client: Callable[..., TestClient], core: CoreConfig
) -> None:
    for files in feature_files().values():
        touch(core, files)
    client = make_client(strict=True)
    called: list[str] = []

    class Client:
        def post(self, path: str, **options: object) -> object:
            called.append(path)
            return client.post(path, **options)  # type: ignore[arg-type]

    shown = call_every_endpoint(Asker(Client()))  # type: ignore[arg-type]
    assert sorted(called) == sorted(endpoint_paths(client))
    assert contact_sheet(shown).size == (5 * 320, 2 * 384)


def endpoint_paths(client: TestClient) -> list[str]:
    paths = client.get("/openapi.json").json()["paths"]
    others = ("stop",)
    return [
        path
        for path, methods in paths.items()
        if path.split("/")[2:3] == ["generation"] and "post" in methods and "jobs" not in path
        if path.rpartition("/")[2] not in others
    ]
