"""What the documents say is true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fooocus_core.config_values import MODEL_FOLDER_KEYS, VALUE_KEYS
from fooocusapi.flags import FLAGS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTATION = {("GET", "/docs"), ("GET", "/redoc"), ("GET", "/openapi.json")}
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")),
]
TOOL_COMMAND = re.compile(r"`python -m tools\.(\w+)([^`]*)`")


def flags_in(text: str) -> list[str]:
    return sorted(set(re.findall(r"--([a-z][a-z0-9-]+)", text)))


def test_the_first_command_of_the_readme_is_answered_as_it_says(client: TestClient) -> None:
    match = re.search(r"curl -s localhost:8888(\S+) .*?-d '(\{.*?\})'", README, re.DOTALL)
    assert match is not None
    shown = re.search(r"```json\n(.*?)\n```", README, re.DOTALL)
    assert shown is not None
    (answered,) = client.post(match[1], json=json.loads(match[2])).json()
    (expected,) = json.loads(shown[1])
    assert list(answered) == list(expected)
    assert answered["seed"] == expected["seed"]
    assert answered["finish_reason"] == expected["finish_reason"]


def test_the_readme_names_the_endpoints_that_are_served(client: TestClient) -> None:
    named = {(method, path) for method, path in re.findall(r"`(GET|POST) ([^`?]+)", README)}
    paths = client.get("/openapi.json").json()["paths"]
    served = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert named - DOCUMENTATION <= served
    assert {path for _, path in served} <= {path for _, path in named}


@pytest.mark.parametrize("flag", flags_in(TOOL_COMMAND.sub("", README)))
def test_every_flag_in_the_readme_exists(flag: str) -> None:
    others = {"gpus", "help", "all", "list"}
    assert flag in {known.name for known in FLAGS} | others


@pytest.mark.parametrize(("tool", "arguments"), TOOL_COMMAND.findall(README))
def test_every_tool_in_the_readme_takes_its_flags(tool: str, arguments: str) -> None:
    source = (ROOT / "tools" / f"{tool}.py").read_text(encoding="utf-8")
    assert all(f'"--{flag}"' in source for flag in flags_in(arguments))


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:--)?([a-z][a-z0-9_-]+)[^`]*`", text))
    keys = {*VALUE_KEYS, *MODEL_FOLDER_KEYS, "path_wildcards", "path_styles", "path_outputs"}
    assert {*keys, "temp_path", *(flag.name for flag in FLAGS)} <= named
    assert set(flags_in(text)) == {flag.name for flag in FLAGS}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(name: str) -> None:
    document = ROOT / name
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    missing = [link for link in local if not (document.parent / link).exists()]
    assert missing == []


def test_each_fault_is_listed_with_tests_that_are_named_after_it() -> None:
    text = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (F[0-9]{2}) \|.*\| (.*)\|$", text, re.MULTILINE))
    assert list(rows) == [f"F{number:02}" for number in range(1, 41)]
    not_applicable = {fault for fault, tests in rows.items() if not tests.strip()}
    assert not_applicable == {"F33", "F40"}
    assert all(fault in README for fault in not_applicable)
    for fault, tests in rows.items():
        for name in re.findall(r"`(\S+)`", tests):
            source = (ROOT / name).read_text(encoding="utf-8")
            named = re.findall(r"^(?:async )?def test_((?:f[0-9]{2}_)+)", source, re.MULTILINE)
            assert any(fault.lower() in names for names in named), f"{fault} in {name}"


def test_the_readme_counts_the_tests_that_the_default_suite_leaves_out() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    marks = [re.findall(r"mark\.(slow|weights|gpu|skip|skipif|xfail)\b", text) for text in sources]
    counted = re.search(r"marked `slow` \(at (\d+) places\)", README)
    assert counted is not None
    assert [mark for found in marks for mark in found] == ["slow"] * int(counted[1])
