"""Opens the database of the job store: where it lies, how it waits, which tables it has.

Knows nothing of jobs.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fooocusapi.exceptions import StoreError

_log = logging.getLogger(__name__)

LOCK_WAIT_S = 30.0
"""How long a locked file is waited for."""


class Use(Enum):
    """What a transaction is for; the execution option ``use``.

    A promise is on the medium when the transaction has ended. A note outlives this process, but not
    a loss of power, and costs no waiting for the medium.
    """

    READ = "read"
    NOTE = "note"
    PROMISE = "promise"


_BROKEN = ("file is not a database", "malformed", "file is encrypted")


def embedded_url(outputs: Path) -> URL:
    """Where the jobs lie if nothing else is said: a file in the output folder."""
    return URL.create("sqlite", database=str(outputs / "database.db"))


def configured_url(text: str, root: Path) -> URL:
    """Where the jobs lie by a SQLAlchemy address; a relative SQLite file lies in ``root``.

    Raises:
        StoreError: The text is no such address.
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise StoreError("FOOOCUS_DB_CONF is not the address of a database") from error
    if not _is_sqlite(url):
        return url
    if url.database in (None, "", ":memory:"):
        raise StoreError("FOOOCUS_DB_CONF has to name a file: jobs in memory would be lost")
    return url.set(database=str(root / str(url.database)))


def open_database(url: URL, *, lock_wait_s: float = LOCK_WAIT_S) -> Engine:
    """Open a database and bring its tables up to date.

    A SQLite file that is damaged is moved aside, and a fresh one takes its place.

    Args:
        lock_wait_s: How long a statement waits for another program that has the file locked.

    Raises:
        StoreError: It cannot be opened, or a later version has changed its tables.
    """
    try:
        return _open(url, lock_wait_s)
    except DatabaseError as error:
        if not _is_broken(error):
            raise _unusable(url, error.orig or error) from error
    except (SQLAlchemyError, OSError, ImportError) as error:
        raise _unusable(url, error) from error
    _move_aside(Path(str(url.database)))
    try:
        return _open(url, lock_wait_s)
    except (SQLAlchemyError, OSError) as error:
        raise _unusable(url, error) from error


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """A transaction, which is kept as a whole or not at all.

    Raises:
        StoreError: The database cannot be used.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except (DBAPIError, PoolTimeoutError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        reason = " ".join(str(cause).split())
        raise StoreError(f"the job store cannot be used: {reason}") from error


def _open(url: URL, lock_wait_s: float) -> Engine:
    engine = _make_engine(url, lock_wait_s)
    try:
        with engine.begin() as connection:
            if _is_sqlite(url):
                _check(connection)
            _migrate(connection)
    except CommandError as error:
        engine.dispose()
        raise StoreError(
            f"the job store {_shown(url)} was changed by a later version; use that, or another "
            "store by FOOOCUS_DB_CONF"
        ) from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make_engine(url: URL, lock_wait_s: float) -> Engine:
    if not _is_sqlite(url):
        return create_engine(url, pool_pre_ping=True)
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": lock_wait_s})
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    # The driver must not begin transactions by itself: it does so too late for a write lock.
    connection.isolation_level = None
    for statement in ("journal_mode=WAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {statement}")


def _begin(connection: Connection) -> None:
    use = connection.get_execution_options().get("use", Use.PROMISE)
    level = "FULL" if use is Use.PROMISE else "NORMAL"
    connection.exec_driver_sql(f"PRAGMA synchronous={level}")
    # With the lock from the start nobody has to give up half-way, only to wait.
    connection.exec_driver_sql("BEGIN" if use is Use.READ else "BEGIN IMMEDIATE")


def _check(connection: Connection) -> None:
    problem = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if problem != "ok":
        raise DatabaseError("quick_check", None, sqlite3.DatabaseError(f"malformed: {problem}"))


def _migrate(connection: Connection) -> None:
    config = Config()
    folder = files("fooocusapi.jobs") / "migrations"
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _is_broken(error: DatabaseError) -> bool:
    is_sqlite = isinstance(error.orig, sqlite3.DatabaseError)
    return is_sqlite and any(sign in str(error.orig) for sign in _BROKEN)


def _move_aside(path: Path) -> None:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(part.with_name(f"{path.name}.damaged-{stamp}{ending}"))
    _log.error(
        "the job store %s is damaged; it was moved aside to %s.damaged-%s and a fresh one is used: "
        "jobs that waited in it are not known any more",
        path,
        path.name,
        stamp,
    )


def _unusable(url: URL, error: BaseException) -> StoreError:
    reason = " ".join(str(error).split())
    return StoreError(f"the job store {_shown(url)} cannot be used: {reason}")


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"
