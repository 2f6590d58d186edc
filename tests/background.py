"""A server as a thread of this process, for clients that need a network."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from fooocus_core.config import CoreConfig
from fooocusapi.app import create_app
from fooocusapi.jobs.worker import Engine
from fooocusapi.settings import Settings
from tests.deadline import wait_until


@contextmanager
def serving_app(
    settings: Settings, core: CoreConfig, make_engine: Callable[[], Engine]
) -> Iterator[str]:
    """The address of an app that serves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = create_app(settings.model_copy(update={"base_url": address}), core, make_engine)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield address
        finally:
            server.should_exit = True
            thread.join()
