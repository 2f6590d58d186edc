"""Jobs, their pictures, and the keys under which they were sent."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, String, Text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    number = BigInteger().with_variant(Integer, "sqlite")
    op.create_table(
        "fooocusapi_jobs",
        Column("number", number, primary_key=True, autoincrement=True),
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
    op.create_index("fooocusapi_jobs_stage", "fooocusapi_jobs", ["stage", "number"])
    op.create_table(
        "fooocusapi_images",
        Column(
            "job",
            number,
            ForeignKey("fooocusapi_jobs.number", ondelete="CASCADE"),
            primary_key=True,
        ),
        Column("position", Integer, primary_key=True),
        Column("date", String(10), nullable=False),
        Column("name", String(300), nullable=False),
        Column("seed", BigInteger, nullable=False),
        Column("size_bytes", BigInteger, nullable=False),
    )
    op.create_table(
        "fooocusapi_idempotency_keys",
        Column("scope", String(64), primary_key=True),
        Column("key", String(255), primary_key=True),
        Column("fingerprint", String(64), nullable=False),
        Column("job_id", String(36), nullable=False),
        Column("made_ms", BigInteger, nullable=False),
    )
