"""What receivers of webhooks are to be told."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String, Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    number = BigInteger().with_variant(Integer, "sqlite")
    op.create_table(
        "fooocusapi_messages",
        Column("number", number, primary_key=True, autoincrement=True),
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
    op.create_index("fooocusapi_messages_job", "fooocusapi_messages", ["job_id", "number"])
    op.create_index("fooocusapi_messages_due", "fooocusapi_messages", ["status", "due_ms"])
