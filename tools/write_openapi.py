"""Writes ``docs/openapi.json``: ``make openapi``, after anything that callers see has changed."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from fooocus_core.config import load_config
from fooocusapi.app import create_app
from fooocusapi.jobs.worker import Engine
from fooocusapi.settings import Settings

TARGET = Path(__file__).parents[1] / "docs" / "openapi.json"


def openapi_text() -> str:
    """The document of a server with the default settings, as it lies in the file."""
    with TemporaryDirectory() as folder:
        core = load_config(root=Path(folder), environ={})
        app = create_app(Settings(outputs=core.folders.outputs), core, _no_engine)
        return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


def _no_engine() -> Engine:
    raise NotImplementedError("nothing is generated here")


if __name__ == "__main__":
    TARGET.write_text(openapi_text(), encoding="utf-8")
