"""Run by alembic: takes the connection it is given and brings its tables up to date."""

from __future__ import annotations

from alembic import context

from fooocusapi.jobs.tables import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
