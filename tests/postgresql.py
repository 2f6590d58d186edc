"""A PostgreSQL server for tests, from the programs of this machine."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

# It refuses to run as root; Debian's package makes this user.
_USER = "postgres"


def is_reachable() -> bool:
    """Whether the programs are there, and somebody who may run them."""
    programs = ["initdb", "pg_ctl", "postgres"]
    if os.geteuid() == 0:
        programs.append("runuser")
        try:
            pwd.getpwnam(_USER)
        except KeyError:
            return False
    return all(map(shutil.which, programs))


@contextmanager
def serving_postgresql() -> Iterator[URL]:
    """The address of an empty database on a server that ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="postgresql"))
    command: list[str | Path] = []
    if os.geteuid() == 0:
        shutil.chown(folder, _USER)
        command = ["runuser", "-u", _USER, "--"]
    data = folder / "data"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
    initdb = ["initdb", "-D", data, "-U", "tests", "--auth=trust", "--no-sync"]
    start = ["pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start"]
    stop = ["pg_ctl", "-D", data, "-m", "immediate", "stop"]
    try:
        for step in (initdb, start):
            subprocess.run([*command, *step], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        yield URL.create(
            "postgresql+psycopg",
            username="tests",
            host="127.0.0.1",
            port=port,
            database="postgres",
        )
    finally:
        subprocess.run([*command, *stop], check=False, stdout=subprocess.DEVNULL, cwd=folder)
        shutil.rmtree(folder, ignore_errors=True)
