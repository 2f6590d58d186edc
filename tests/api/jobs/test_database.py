"""Opening the store: damaged, locked, of another version, at another address."""

from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, inspect

from fooocusapi.exceptions import StoreError
from fooocusapi.jobs.database import configured_url, embedded_url, open_database
from fooocusapi.jobs.tables import VERSION_TABLE, metadata
from tests.jobs import make_stored, make_view, open_store


@pytest.fixture
def url(tmp_path: Path) -> URL:
    return embedded_url(tmp_path)


def test_the_steps_lead_to_the_tables_that_are_used(store_url: URL) -> None:
    engine = open_database(store_url)
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        found = compare_metadata(context, metadata)
        assert [entry for entry in found if entry[0] != "remove_index"] == []
    engine.dispose()


def test_the_embedded_store_writes_ahead(url: URL) -> None:
    engine = open_database(url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()


def test_f14_a_store_of_an_older_version_is_brought_up_to_date(url: URL, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "database.db") as before:
        before.execute("CREATE TABLE generate_record (id INTEGER)")
        before.execute("INSERT INTO generate_record VALUES (7)")
    before.close()
    engine = open_database(url)
    tables = set(inspect(engine).get_table_names())
    assert tables == {*metadata.tables, VERSION_TABLE, "generate_record"}
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT id FROM generate_record").all()
    engine.dispose()
    assert [tuple(row) for row in rows] == [(7,)]


def test_a_store_of_a_later_version_is_left_alone(url: URL) -> None:
    engine = open_database(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(StoreError, match="a later version"):
        open_database(url)
    assert not list(Path(str(url.database)).parent.glob("*damaged*"))


@pytest.mark.parametrize("offset", [0, 5000], ids=["header", "middle"])
def test_f14_a_damaged_store_is_moved_aside_with_all_it_held(
    url: URL, tmp_path: Path, caplog: pytest.LogCaptureFixture, offset: int
) -> None:
    store = open_store(tmp_path)
    for _ in range(50):
        store.accept(make_view(), make_stored())
    store.close()
    path = tmp_path / "database.db"
    content = bytearray(path.read_bytes())
    content[offset : offset + 12000] = b"x" * 12000
    path.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        fresh = open_store(tmp_path)
    assert fresh.unfinished() == []
    fresh.close()
    (aside,) = tmp_path.glob("database.db.damaged-*")
    assert aside.read_bytes() == content
    assert str(path) in caplog.text


def test_f14_a_locked_store_is_waited_for(url: URL, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    lock = sqlite3.connect(tmp_path / "database.db", isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    unlock = threading.Timer(0.3, lock.execute, ["COMMIT"])
    unlock.start()
    view = make_view()
    store.accept(view, make_stored())
    unlock.join()
    lock.close()
    assert store.find(view.id) is not None
    store.close()


def test_a_store_that_stays_locked_is_told_of_and_not_moved(url: URL, tmp_path: Path) -> None:
    open_store(tmp_path).close()
    lock = sqlite3.connect(tmp_path / "database.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        open_database(url, lock_wait_s=0.1)
    lock.close()
    assert not list(tmp_path.glob("*damaged*"))


def test_addresses_are_those_of_sqlalchemy_and_relative_files_lie_in_the_root() -> None:
    root = Path("/root/of/it")
    assert configured_url("sqlite:///database.db", root).database == "/root/of/it/database.db"
    assert configured_url("sqlite:////var/jobs.db", root).database == "/var/jobs.db"
    shown = configured_url("postgresql+psycopg://u:secret@db.example/jobs", root)
    assert shown.host == "db.example"
    assert "secret" not in shown.render_as_string()


@pytest.mark.parametrize("text", ["nonsense", "sqlite://", "sqlite:///:memory:"])
def test_addresses_that_cannot_be_used_are_refused(text: str) -> None:
    with pytest.raises(StoreError, match="FOOOCUS_DB_CONF"):
        configured_url(text, Path("/"))


def test_a_database_whose_driver_is_missing_is_refused_without_its_password() -> None:
    url = configured_url("oracle+oracledb://u:secret@db.example/jobs", Path("/"))
    with pytest.raises(StoreError, match="cannot be used") as raised:
        open_database(url)
    assert "secret" not in str(raised.value)
