"""The pages /docs and /redoc, which have to work without a network."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeClient

PAGES = ["/docs", "/redoc"]
ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
    "favicon.png": "image/png",
}


def addresses(page: str) -> list[str]:
    """What a browser loads for a page, and the schema that its script asks for."""
    loaded = re.findall(r"""(?:src|href|spec-url)=["']([^"']+)["']""", page)
    return [*loaded, *re.findall(r"url: '([^']+)'", page)]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_names_no_other_host(client: TestClient, path: str) -> None:
    page = client.get(path).text
    foreign = re.findall(r"""["'(]((?:https?:)?//[^"')]+)""", page)
    assert foreign == []
    assert "/openapi.json" in addresses(page)


@pytest.mark.parametrize("path", PAGES)
def test_everything_that_a_page_loads_is_there_without_a_key(
    make_client: MakeClient, path: str
) -> None:
    client = make_client(apikey="secret")
    page = client.get(path)
    assert page.status_code == 200
    loaded = [urljoin(path, address) for address in addresses(page.text)]
    assert len(loaded) >= 3
    assert [client.get(address).status_code for address in loaded] == [200] * len(loaded)


@pytest.mark.parametrize(("name", "media_type"), ASSETS.items())
def test_scripts_and_styles_are_served_by_their_kind(
    client: TestClient, name: str, media_type: str
) -> None:
    answer = client.get(f"/docs/assets/{name}")
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert len(answer.content) > 1000


def test_nothing_else_is_served_beside_them(client: TestClient) -> None:
    for name in ("", "nothing.js", "..%2fcore.py", "%2e%2e/core.py"):
        assert client.get(f"/docs/assets/{name}").status_code == 404


def test_swagger_ui_knows_this_version_of_openapi(client: TestClient) -> None:
    script = client.get("/docs/assets/swagger-ui-bundle.js").text
    version = re.search(r'PACKAGE_VERSION:"(\d+)\.', script)
    assert version is not None
    assert int(version[1]) >= 5


@pytest.mark.parametrize("path", PAGES)
def test_a_browser_may_ask_no_other_host_for_a_page(client: TestClient, path: str) -> None:
    policy = client.get(path).headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    sources = set(re.findall(r"[\s](\S+?)(?=[;\s]|$)", policy.replace("-src", "-src ")))
    assert not [source for source in sources if "//" in source or source in ("*", "https:")]


def test_the_validator_of_other_people_is_not_asked(client: TestClient) -> None:
    assert '"validatorUrl": null' in client.get("/docs").text


def test_addresses_follow_the_prefix_of_a_proxy(client: TestClient) -> None:
    prefixed = TestClient(client.app, root_path="/pictures")
    for path in PAGES:
        found = addresses(prefixed.get(path).text)
        assert found
        assert all(address.startswith("/pictures/") for address in found)
