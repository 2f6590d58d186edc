"""Writes ``docs/openapi.json`` and the tables of fields in ``docs/api.md``: ``make openapi``."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from fooocus_core.config import load_config
from fooocusapi.app import create_app
from fooocusapi.jobs.worker import Engine
from fooocusapi.settings import Settings
from tools.api_tables import with_tables

_DOCS = Path(__file__).parents[1] / "docs"
TARGET = _DOCS / "openapi.json"
FOR_CALLERS = _DOCS / "api.md"


def openapi_text() -> str:
    """The document of a server with the default settings, as it lies in the file."""
    with TemporaryDirectory() as folder:
        core = load_config(root=Path(folder), environ={})
        app = create_app(Settings(outputs=core.folders.outputs), core, _no_engine)
        return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


def _no_engine() -> Engine:
    raise RuntimeError("nothing is generated here")


def for_callers_text(document: str) -> str:
    """``docs/api.md`` with tables that say what the document says."""
    schemas = json.loads(document)["components"]["schemas"]
    return with_tables(FOR_CALLERS.read_text(encoding="utf-8"), schemas)


if __name__ == "__main__":
    text = openapi_text()
    TARGET.write_text(text, encoding="utf-8")
    FOR_CALLERS.write_text(for_callers_text(text), encoding="utf-8")
