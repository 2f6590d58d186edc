"""Defects of the replaced server that are not to come back, as far as no other test is named so."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from fooocus_core.config import CoreConfig, load_config
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.conftest import MakeClient
from tests.fakes import FakeEngine, Script
from tests.pictures import encode, plain

ROOT = Path(__file__).parents[3]
URL, VARY = "/v1/generation/text-to-image", "/v1/generation/image-upscale-vary"
HISTORY = "/v1/generation/job-history"
SMALL: dict[str, Any] = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}
FORM = {"aspect_ratios_selection": "64*64", "style_selections": "", "loras": "[]"}


def test_defect_b2_a_name_leads_nowhere_and_replaces_nothing(
    client: TestClient, core: CoreConfig
) -> None:
    body = {**SMALL, "save_name": "../../../x"}
    first, second = (client.post(URL, json=body).json()[0]["url"] for _ in range(2))
    assert first != second
    written = [path for path in core.folders.outputs.parent.rglob("*.png") if "x" in path.name]
    assert {path.parent.parent for path in written} == {core.folders.outputs / "files"}
    refused = client.post(URL, json={**SMALL, "save_extension": "../png"})
    assert refused.json()["detail"][0]["loc"] == ["body", "save_extension"]


@pytest.mark.parametrize("persistent", [True, False], ids=["persistent", "in memory"])
def test_defect_b6_a_job_is_deleted_and_both_times_answered(
    make_client: MakeClient, persistent: bool
) -> None:
    client = make_client(persistent=persistent)
    job_id = client.post(URL, json=SMALL).headers["X-Fooocus-Job-Id"]
    asked = {"delete": True, "job_id": job_id}
    deleted, again = (client.get(HISTORY, params=asked) for _ in range(2))
    assert (deleted.status_code, deleted.json()) == (200, {"message": "Deleted"})
    assert (again.status_code, again.json()["message"]) == (404, "Not found")
    assert client.get(HISTORY, params={"job_id": job_id}).json()["history"] == []


@pytest.mark.parametrize("as_form", [True, False], ids=["form", "json"])
def test_defect_b9_a_wrong_advanced_value_is_refused(client: TestClient, as_form: bool) -> None:
    advanced = {"overwrite_step": 999}
    sent: dict[str, Any] = {"json": {**SMALL, "advanced_params": advanced}}
    if as_form:
        sent = {"data": {**FORM, "advanced_params": json.dumps(advanced)}}
    answer = client.post("/v1/generation/image-prompt", **sent)
    places = [entry["loc"] for entry in answer.json()["detail"]]
    assert ["body", "advanced_params", "overwrite_step"] in places


@pytest.mark.parametrize(("given", "step"), [(20, 20), (1.0, 1), (12.4, 12), (0, None), (-1, None)])
def test_defect_b10_decision_d11_the_switch_is_the_number_of_a_step(
    client: TestClient, engine: FakeEngine, given: float, step: int | None
) -> None:
    client.post(URL, json={**SMALL, "advanced_params": {"overwrite_switch": given}})
    assert engine.asked[-1].sampling.switch_step == step


def test_defect_b14_what_a_user_has_put_there_stays_as_it_is(
    tmp_path: Path, engine: FakeEngine
) -> None:
    written = {"config.txt": '{"default_cfg_scale": 5}', "presets/mine.json": "{}"}
    for name, text in {**written, "models/checkpoints/a.safetensors": ""}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    core = load_config(root=tmp_path, preset="mine", environ={"default_model": "a.safetensors"})
    app = create_app(Settings(outputs=core.folders.outputs), core, lambda: engine)
    with TestClient(app) as client:
        assert client.post(URL, json=SMALL).status_code == 200
    assert [path.name for path in (tmp_path / "presets").iterdir()] == ["mine.json"]
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in written} == written


def test_defect_b16_a_picture_in_a_refused_form_is_not_sent_back(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    picture = encode(plain(64, 64)) + bytes(100_000)
    answer = client.post(
        VARY, data={**FORM, "sharpness": "x" * 5000}, files={"input_image": picture}
    )
    assert answer.status_code == 422
    assert {"uov_method", "sharpness"} == {entry["loc"][1] for entry in answer.json()["detail"]}
    assert len(answer.content) < 3000
    assert len(caplog.text) < 3000


def test_defect_b20_jobs_without_pictures_have_their_record(
    make_client: MakeClient, engine: FakeEngine
) -> None:
    client = make_client(persistent=True)
    engine.play(Script(failure=ValueError("odd")), Script(gated=True))
    failed = client.post(URL, json={**SMALL, "prompt": "a fox"}).headers["X-Fooocus-Job-Id"]
    stopped = client.post(URL, json={**SMALL, "async_process": True}).json()["job_id"]
    engine.gate.wait_for_step()
    client.post("/v1/generation/stop")
    client.post(URL, json=SMALL)
    for job_id, reason in ((failed, "ERROR"), (stopped, "USER_CANCEL")):
        (entry,) = client.get(HISTORY, params={"job_id": job_id}).json()["history"]
        assert (entry["task_info"]["result_url"], entry["task_info"]["finish_reason"]) == (
            "",
            reason,
        )
    assert client.get(HISTORY, params={"job_id": failed}).json()["history"][0]["params"]["prompt"]


SECRET = re.compile(r"key|secret|digest|token", re.IGNORECASE)


def compared(path: Path) -> list[str]:
    """What a module tests for equality that is called like a secret."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            found += [ast.unparse(side) for side in (node.left, *node.comparators)]
    return [text for text in found if SECRET.search(text)]


def test_defect_b22_keys_are_compared_in_constant_time() -> None:
    modules = [
        path
        for path in (ROOT / "fooocusapi").glob("*.py")
        if "compare_digest" in path.read_text(encoding="utf-8")
    ]
    assert modules != []
    assert [text for path in modules for text in compared(path)] == []


@pytest.mark.parametrize("as_form", [True, False], ids=["form", "json"])
def test_decision_d8_records_are_embedded_unless_refused_in_both_encodings(
    client: TestClient, engine: FakeEngine, as_form: bool
) -> None:
    def sent(**fields: str) -> dict[str, Any]:
        return {"data": {**FORM, **fields}} if as_form else {"json": {**SMALL, **fields}}

    client.post(URL, **sent())
    client.post(URL, **sent(save_meta="false"))
    assert [asked.output.metadata for asked in engine.asked[-2:]] == ["fooocus", None]
