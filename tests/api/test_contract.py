"""Requests drawn from the OpenAPI document: every answer is one that the document describes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fooocus_core.config import CoreConfig
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.fakes import FakeEngine, Script
from tests.pictures import as_data_url, encode, plain
from tools.write_openapi import TARGET

EXAMPLES, INVALID_EXAMPLES, MANY_EXAMPLES = 8, 4, 200
DOCUMENT: dict[str, Any] = json.loads(TARGET.read_text(encoding="utf-8"))
CHECK_NAMES = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
PICTURES = ("image", "input_image", "input_mask", "enhance_input_image", "cn_img")
PICTURE = as_data_url(encode(plain(16, 16)))
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": []}

OPERATIONS = [
    pytest.param(path, method, id=operation["operationId"])
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def can_be_invalid(path: str, method: str) -> bool:
    """Whether something is sent beside the path, all of which is text."""
    operation = DOCUMENT["paths"][path][method]
    places = {parameter["in"] for parameter in operation.get("parameters", ())}
    return "requestBody" in operation or bool(places - {"path"})


WITH_INPUT = [case for case in OPERATIONS if can_be_invalid(*case.values)]

pytestmark = pytest.mark.usefixtures("every_model")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(size=(8, 8))


@pytest.fixture
def client(settings: Settings, core: CoreConfig, engine: FakeEngine) -> Iterator[TestClient]:
    app = create_app(settings, core, lambda: engine)
    with TestClient(with_ascii_headers(app), raise_server_exceptions=False) as client:
        yield client


def with_ascii_headers(app: ASGIApp) -> ASGIApp:
    """The app for the test client, which cannot read the Latin-1 of warnings."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if "headers" in message:
                pairs = [(name, value.decode("latin-1")) for name, value in message["headers"]]
                message["headers"] = [
                    (name, value.encode("ascii", "replace")) for name, value in pairs
                ]
            await send(message)

        await app(scope, receive, send_on)

    return call


@pytest.fixture
def known(client: TestClient, engine: FakeEngine) -> dict[str, list[str]]:
    """Values of parameters under which there is something."""
    url = "/v1/generation/text-to-image"
    engine.play(Script(), Script(failure=ValueError("broken")))
    made, failed = (client.post(url, json=SMALL) for _ in range(2))
    date, name = made.json()[0]["url"].split("/")[-2:]
    return {
        "job_id": [answer.headers["X-Fooocus-Job-Id"] for answer in (made, failed)],
        "date": [date],
        "file_name": [name],
    }


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_valid_requests_are_answered_as_described(
    client: TestClient, known: dict[str, list[str]], path: str, method: str
) -> None:
    draw_and_check(client, known, operation_at(path, method), GenerationMode.POSITIVE, EXAMPLES)


@pytest.mark.parametrize(("path", "method"), WITH_INPUT)
def test_invalid_requests_are_answered_as_described(
    client: TestClient, known: dict[str, list[str]], path: str, method: str
) -> None:
    operation = operation_at(path, method)
    draw_and_check(client, known, operation, GenerationMode.NEGATIVE, INVALID_EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), WITH_INPUT)
def test_many_requests_are_answered_as_described(
    client: TestClient, known: dict[str, list[str]], path: str, method: str, mode: GenerationMode
) -> None:
    draw_and_check(client, known, operation_at(path, method), mode, MANY_EXAMPLES)


def operation_at(path: str, method: str) -> Any:
    return schemathesis.openapi.from_dict(DOCUMENT)[path][method]


def draw_and_check(
    client: TestClient,
    known: dict[str, list[str]],
    operation: Any,
    mode: GenerationMode,
    examples: int,
) -> None:
    """Send so many drawn requests; a part of them names what is there, and shows real pictures."""
    load_all_checks()
    checks = CHECKS.get_by_names(CHECK_NAMES)

    @given(
        case=operation.as_strategy(mode),
        has_pictures=st.booleans(),
        place=st.none() | st.integers(0, 1),
    )
    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Case, has_pictures: bool, place: int | None) -> None:
        if place is not None:
            name_known(case, known, place)
        if has_pictures:
            case.body = with_pictures(case.body)
        case.validate_response(send(client, case), checks=checks)

    check()


def name_known(case: Case, known: dict[str, list[str]], place: int) -> None:
    """Put values in place of drawn ones under which there is something."""
    for part in (case.path_parameters, case.query):
        for name in set(part or ()) & set(known):
            part[name] = known[name][place % len(known[name])]


def with_pictures(value: Any) -> Any:
    """The body with a real picture wherever one was drawn."""
    if isinstance(value, dict):
        return {
            name: PICTURE if is_picture(name, part) else with_pictures(part)
            for name, part in value.items()
        }
    return [with_pictures(part) for part in value] if isinstance(value, list) else value


def is_picture(name: Any, value: Any) -> bool:
    return str(name).rstrip("1234") in PICTURES and isinstance(value, str | bytes)


def send(client: TestClient, case: Case) -> Any:
    """Send what was drawn byte for byte, to the app of this process."""
    drawn = case.as_transport_kwargs(base_url=str(client.base_url))
    drawn.pop("timeout", None)
    made = requests.Request(**drawn).prepare()
    return client.request(
        str(made.method), str(made.url), content=made.body, headers=dict(made.headers)
    )
