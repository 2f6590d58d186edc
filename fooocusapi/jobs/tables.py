"""The tables of the job store as this version uses them; ``migrations/`` makes them.

Their names are our own, so that a database of another program can hold them, too.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

VERSION_TABLE = "fooocusapi_version"

# Only a plain INTEGER counts up by itself in SQLite.
_Number = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

jobs = Table(
    "fooocusapi_jobs",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("kind", String(40), nullable=False),
    Column("stage", String(10), nullable=False),
    Column("reason", String(20)),
    Column("is_cancelled", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("queued_ms", BigInteger, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("finished_ms", BigInteger, nullable=False),
    Column("request", Text, nullable=False),
    Column("params", Text, nullable=False),
    Column("inputs", Integer, nullable=False),
    Column("delivery", Text, nullable=False),
    Column("warnings", Text, nullable=False),
    Column("code", String(40)),
    Column("error", Text),
    sqlite_autoincrement=True,
)

images = Table(
    "fooocusapi_images",
    metadata,
    Column("job", _Number, ForeignKey(jobs.c.number, ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("date", String(10), nullable=False),
    Column("name", String(300), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
)

keys = Table(
    "fooocusapi_idempotency_keys",
    metadata,
    Column("scope", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("job_id", String(36), nullable=False),
    Column("made_ms", BigInteger, nullable=False),
)

messages = Table(
    "fooocusapi_messages",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("job_id", String(36), nullable=False),
    Column("type", String(20), nullable=False),
    Column("target", Text),
    Column("body", Text, nullable=False),
    Column("status", String(10), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("answer", Integer),
    Column("problem", Text),
    sqlite_autoincrement=True,
)
