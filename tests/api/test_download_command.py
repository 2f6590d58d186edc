"""``python main.py download``: what is listed, what is fetched, and the exit status."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from fooocus_core.feature_files import INTERPOSER, SD15_PREVIEW, SDXL_PREVIEW
from fooocus_core.remote_files import HUB
from fooocusapi.cli import PROJECT_ROOT, main
from tests.hub import FakeHub

CONTENT = bytes(range(256)) * 2000
Run = Callable[..., int]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models root that has what every preset needs beside its models."""
    folder = tmp_path / "models"
    (folder / "vae_approx").mkdir(parents=True)
    for file in (SDXL_PREVIEW, SD15_PREVIEW, INTERPOSER):
        (folder / "vae_approx" / file.name).touch()
    return folder


@pytest.fixture
def arguments(
    models: Path, tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Flags and environment with a configuration that lists two files of the hub."""
    hub.put("owner/name/base.safetensors", CONTENT)
    hub.put("owner/name/extra.safetensors", CONTENT)
    folder = f"{HUB}/owner/name/resolve/main"
    config = {
        "default_model": "base.safetensors",
        "default_loras": [],
        "checkpoint_downloads": {
            "base.safetensors": f"{HUB}/owner/name/resolve/main/base.safetensors"
        },
        "lora_downloads": {"extra.safetensors": f"{folder}/extra.safetensors"},
    }
    (tmp_path / "config.txt").write_text(json.dumps(config))
    monkeypatch.setenv("config_path", str(tmp_path / "config.txt"))
    monkeypatch.setenv("HF_MIRROR", hub.url)
    return ["--models-path", str(models), "--temp-path", str(tmp_path / "temp")]


def status_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["download", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_what_is_missing_is_fetched_and_the_licence_told(
    arguments: list[str], models: Path, hub: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert status_of(*arguments) == 0
    assert (models / "checkpoints" / "base.safetensors").read_bytes() == CONTENT
    assert (models / "loras" / "extra.safetensors").read_bytes() == CONTENT
    assert "5 files, 2 missing" in caplog.text
    assert "base.safetensors: 512 kB of 512 kB" in caplog.text
    assert caplog.text.count("licence: not stated") == 2
    hub.asked.clear()
    assert status_of(*arguments) == 0
    assert hub.asked == []


def test_a_list_asks_nobody_and_fetches_nothing(
    arguments: list[str], models: Path, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    (models / "loras").mkdir()
    (models / "loras" / "extra.safetensors").touch()
    assert status_of(*arguments, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]].count("missing") == 1
    (missing,) = [line for line in lines if line.startswith("missing")]
    assert "checkpoints/base.safetensors" in missing
    assert f"{HUB}/owner/name/resolve/main/base.safetensors" in missing
    assert lines[-1] == "5 files, 1 missing: 0 B and 1 of unknown size"
    assert hub.asked == []


def test_all_lists_every_published_file_with_size_and_licence(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of("--all", "--list", *arguments) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if "clip_vision_vit_h" in line]
    assert line.split()[:4] == ["missing", "2.0", "GB", "clip_vision/clip_vision_vit_h.safetensors"]
    assert "(licence: MIT;" in line
    assert "base.safetensors" in printed


def test_one_failure_does_not_keep_from_the_next_file(
    arguments: list[str], models: Path, hub: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.refusals.append(404)
    assert status_of(*arguments) == 1
    assert "base.safetensors could not be fetched" in caplog.text
    assert not (models / "checkpoints" / "base.safetensors").exists()
    assert (models / "loras" / "extra.safetensors").exists()


def test_a_file_that_nobody_offers_is_told(
    arguments: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("default_model", "mine.safetensors")
    assert status_of(*arguments) == 1
    assert "checkpoints/mine.safetensors: no address is known" in caplog.text


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_nothing_is_asked(
    arguments: list[str],
    hub: FakeHub,
    name: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, "1")
    assert status_of(*arguments) == 1
    assert "fetching is switched off" in caplog.text
    assert hub.asked == []


def test_the_embedded_model_has_all_it_needs(
    arguments: list[str], hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(*arguments, "--preset", "tiny", "--all", "--list") == 0
    assert capsys.readouterr().out == "0 files, 0 missing: 0 B\n"


def test_a_mirror_that_is_no_address_is_refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_MIRROR", "ftp://a.example")
    assert status_of(*arguments) == 2
    assert "HF_MIRROR: 'ftp://a.example' is no http(s) address" in capsys.readouterr().err


def test_a_terminal_sees_a_bar(arguments: list[str], models: Path) -> None:
    terminal, child = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    command = [sys.executable, "main.py", "download", *arguments]
    process = subprocess.Popen(command, cwd=PROJECT_ROOT, stderr=child)
    os.close(child)
    shown = b""
    while True:
        try:
            block = os.read(terminal, 4096)
        except OSError:
            break
        shown += block
    os.close(terminal)
    assert process.wait(timeout=20) == 0
    assert re.search(rb"base\.safetensors: 100%\|.*\| 512k/512k", shown)
    assert (models / "checkpoints" / "base.safetensors").read_bytes() == CONTENT
