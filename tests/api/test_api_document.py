"""What docs/api.md shows is so: its examples run, and nothing is missing in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pictures import encode, plain
from tools.write_openapi import FOR_CALLERS, TARGET, for_callers_text

SHOWN = "http://127.0.0.1:8888"
TEXT = FOR_CALLERS.read_text(encoding="utf-8")
DOCUMENT: dict[str, Any] = json.loads(TARGET.read_text(encoding="utf-8"))
LIMIT_S = 60
# Whoever reads them sees short commands; here those that fail have to end the script.
CURL_OPTIONS = "silent\nshow-error\nfail-with-body\n"
REFUSED = 22


def blocks(language: str) -> list[Any]:
    """The blocks in a language with the JSON block behind each, by their heading."""
    found = re.finditer(
        rf"```{language}\n(?P<code>.*?)```(?:\n\n```json\n(?P<answer>.*?)```)?", TEXT, re.DOTALL
    )
    return [
        pytest.param(match["code"], match["answer"], id=heading_above(match.start()))
        for match in found
    ]


def heading_above(place: int) -> str:
    return re.findall(r"^##+ (.*)$", TEXT[:place], re.MULTILINE)[-1].replace("`", "")


def operations() -> list[Any]:
    return [
        pytest.param(method.upper(), path, id=f"{method} {path}")
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that examples run in."""
    (tmp_path / "photo.png").write_bytes(encode(plain(32, 24)))
    (tmp_path / "mask.png").write_bytes(encode(plain(32, 24, (255, 255, 255))))
    (tmp_path / ".curlrc").write_text(CURL_OPTIONS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("code", "answer"), blocks("sh"))
def test_a_command_works_and_answers_as_shown(
    folder: Path, address: str, code: str, answer: str | None
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", code.replace(SHOWN, address)],
        env={**os.environ, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    expected = REFUSED if '"detail"' in (answer or "") else 0
    assert done.returncode == expected, done.stdout + done.stderr
    if answer is not None:
        (*_, last) = json_values(done.stdout)
        assert is_alike(last, json.loads(answer)), done.stdout


@pytest.mark.parametrize(("code", "answer"), blocks("python"))
def test_a_program_works(folder: Path, address: str, code: str, answer: str | None) -> None:
    exec(compile(code.replace(SHOWN, address), "docs/api.md", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(("method", "path"), operations())
def test_every_endpoint_has_a_command_and_a_program(method: str, path: str) -> None:
    assert any(is_sent(method, path, command) for command in commands())
    called = re.compile(rf"""(?:["']|:8888){re.escape(path)}(?=["'?])""")
    assert any(called.search(block.values[0]) for block in blocks("python"))


def commands() -> list[str]:
    code = "".join(block.values[0].replace("\\\n", " ") for block in blocks("sh"))
    return [line for line in code.splitlines() if "curl" in line]


def is_sent(method: str, path: str, command: str) -> bool:
    named = re.search(r"-X (\w+)", command)
    sent = named[1] if named else "POST" if re.search(r" -[dF] ", command) else "GET"
    anything = re.sub(r"\\\{\w+\\\}", r"[^\\s\"/?]+", re.escape(path))
    return sent == method and bool(re.search(rf":8888{anything}(?=[\s\"'?]|\*|$)", command))


def test_its_tables_say_what_the_openapi_document_says() -> None:
    assert for_callers_text(json.dumps(DOCUMENT)) == TEXT, "run: make openapi"


def test_every_field_of_a_request_is_in_it() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    bodies = {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    }
    schemas = DOCUMENT["components"]["schemas"]
    parts = {"AdvancedParams", "EnhanceRegion", "ImagePrompt", "Lora"}
    fields = {field for name in bodies | parts for field in schemas[name]["properties"]}
    assert len(fields) > 100
    assert fields <= named


def test_every_field_has_a_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", TEXT, re.MULTILINE)
    assert len(rows) > 100
    assert [name for name, meaning in rows if not meaning] == []


def test_every_header_of_ours_is_in_it() -> None:
    named = re.findall(r'"(X-Fooocus-[A-Za-z-]+)"', json.dumps(DOCUMENT))
    assert set(named) <= set(re.findall(r"`(X-Fooocus-[A-Za-z-]+)`", TEXT))


def json_values(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        text = text[end:]
        yield value


def is_alike(value: Any, shown: Any) -> bool:
    """Whether two values have the same fields of the same kinds; null stands for any."""
    if value is None or shown is None:
        return True
    if isinstance(value, dict) and isinstance(shown, dict):
        same = list(value) == list(shown)
        return same and all(is_alike(value[name], shown[name]) for name in value)
    if isinstance(value, list) and isinstance(shown, list):
        return not (value and shown) or is_alike(value[0], shown[0])
    return type(value) is type(shown)
