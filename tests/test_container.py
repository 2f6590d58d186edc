"""The container files say what is so; the image itself is built by nobody here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fooocusapi.flags import FLAGS

ROOT = Path(__file__).parent.parent
INSTALLING = "pip install"


def instructions() -> list[tuple[str, str]]:
    """Keyword and rest of each instruction of the Dockerfile, long lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines()]


def copies() -> list[tuple[list[str], str]]:
    """Sources and target of each COPY."""
    parts = [rest.split() for keyword, rest in instructions() if keyword == "COPY"]
    return [(part[:-1], part[-1]) for part in parts]


def environment() -> dict[str, str]:
    """What ENV sets."""
    (rest,) = [rest for keyword, rest in instructions() if keyword == "ENV"]
    return dict(pair.split("=", 1) for pair in rest.split())


def test_everything_that_is_copied_exists_and_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for sources, _ in copies():
        for source in sources:
            assert (ROOT / source).exists()
            assert f"!{source.split('/')[0]}" in ignored


def test_the_image_serves_every_address_as_an_ordinary_user() -> None:
    table = dict(instructions())
    assert table["ENTRYPOINT"] == '["python", "main.py"]'
    assert environment()["FOOOCUSAPI_HOST"] == "0.0.0.0"
    assert table["USER"] == "fooocus"
    assert table["EXPOSE"] == "8888"
    assert "/health" in table["HEALTHCHECK"]


def test_jobs_are_kept_in_the_volume_of_the_outputs() -> None:
    assert "/app/outputs" in dict(instructions())["VOLUME"]
    assert environment()["FOOOCUS_DB_CONF"].startswith("sqlite:////app/outputs/")


def test_the_services_end_their_jobs_before_they_are_killed() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    (seconds,) = re.findall(r"stop_grace_period: (\d+)s", text)
    (grace,) = [flag.default for flag in FLAGS if flag.name == "shutdown-grace"]
    assert int(seconds) > grace


@pytest.mark.slow
def test_the_install_steps_work_in_a_clean_environment(tmp_path: Path) -> None:
    """Each COPY and each installing RUN, in order, and then the command of the image."""
    folder, venv = tmp_path / "app", tmp_path / "venv"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    clean = {**os.environ, "PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "TORCH_INDEX_URL": ""}
    clean.pop("PYTHONPATH", None)
    for keyword, rest in instructions():
        if keyword == "COPY":
            *sources, target = rest.split()
            for source in sources:
                copy(ROOT / source, folder / target)
        elif keyword == "RUN" and INSTALLING in rest:
            subprocess.run(["sh", "-c", rest], cwd=folder, env=clean, check=True)
    done = subprocess.run(
        ["python", "main.py", "doctor", "--preset", "tiny"],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        str(venv)
        in subprocess.run(
            ["python", "-c", "import torch; print(torch.__file__)"],
            env=clean,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


def copy(source: Path, target: Path) -> None:
    """Copy as COPY does: a folder's content, or a file into a folder or to a name."""
    if source.is_dir():
        shutil.copytree(
            source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
        return
    target = target / source.name if target.is_dir() else target
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
