"""What flags do to a running server: folders that it uses, and the device that it sees."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from fooocus_core.config import CoreConfig
from fooocusapi.cli import PROJECT_ROOT
from tests.conftest import Start
from tests.deadline import wait_until
from tests.servers import Running

UPLOAD_BYTES = 3_000_000


def test_folders_of_the_command_line_are_used(
    start: Start, core: CoreConfig, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    further = other / "models" / "checkpoints" / "further.safetensors"
    further.parent.mkdir(parents=True)
    further.write_bytes(b"weights")
    cache, temp = tmp_path / "cache", tmp_path / "temp"
    folders = ["--cache-path", cache, "--temp-path", temp, "--external-working-path", other]
    server = start(*map(str, folders), "--rebuild-hash-cache", "2")
    files = server.request("GET", "/v1/engines/all-models").body
    assert files["model_filenames"][-1] == further.name
    lines = (cache / "hash_cache.txt").read_text(encoding="utf-8").splitlines()
    hashed = [json.loads(line)["path"] for line in lines]
    assert sorted(hashed) == sorted(
        str(path.resolve())
        for folder in (*core.folders.checkpoints, *core.folders.loras, further.parent)
        for path in folder.rglob("*.safetensors")
    )
    assert not (tmp_path / "out" / "hash_cache.txt").exists()
    with uploading(server) as connection:
        wait_until(lambda: any(path.startswith(str(temp)) for path in open_files(server)))
        connection.close()


def uploading(server: Running) -> socket.socket:
    """A connection over which a large part of a form has been sent that does not end."""
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port))
    head = (
        "POST /v1/tools/read-metadata HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
    )
    connection.sendall(head.encode() + bytes(UPLOAD_BYTES))
    return connection


def open_files(server: Running) -> list[str]:
    folder = Path(f"/proc/{server.pid}/fd")
    return [str(path.readlink()) for path in folder.iterdir() if path.is_symlink()]


SERVE = """
import os, signal, sys
from fooocusapi.cli import run
from fooocusapi.flag_values import read_flags

def make_engine(*_):
    print(os.environ.get("CUDA_VISIBLE_DEVICES"), "torch" in sys.modules, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    raise RuntimeError("none is needed")

run(read_flags(sys.argv[1:], {}), {}, make_engine)
"""


def test_the_gpu_is_chosen_before_any_library_could_see_another(tmp_path: Path) -> None:
    flags = ["--gpu-device-id", "3", "--port", "0", "--preset", "tiny"]
    folders = ["--output-path", str(tmp_path / "out"), "--temp-path", str(tmp_path / "temp")]
    done = subprocess.run(
        [sys.executable, "-c", SERVE, *flags, *folders],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["3", "False"]
