"""Databases that jobs are stored in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine

from fooocusapi.jobs.database import embedded_url
from tests.postgresql import is_reachable, serving_postgresql


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[URL]:
    """Address of a PostgreSQL server."""
    if not is_reachable():
        pytest.skip("PostgreSQL is not installed")
    with serving_postgresql() as url:
        yield url


@pytest.fixture
def postgresql_url(postgresql_server: URL) -> URL:
    """Address of a PostgreSQL database without tables."""
    engine = create_engine(postgresql_server)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
    return postgresql_server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """Address of a database without tables, of each kind in turn."""
    if request.param == "sqlite":
        return embedded_url(tmp_path)
    url: URL = request.getfixturevalue("postgresql_url")
    return url
