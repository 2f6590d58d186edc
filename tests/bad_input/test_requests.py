"""B49 to B53, B55 to B57, B59 and B60: paths, headers, hosts and pages that are not as usual."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.bad_input.conftest import Prober
from tests.conftest import MakeClient
from tests.keys import KEYS, as_
from tests.pictures import encode, plain

URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}
DATE = "2024-01-31"
VERBS = {"get", "post", "put", "patch", "delete"}
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("POST", f"{URL}/", 404),
        ("POST", f"/{URL}", 404),
        ("POST", URL.replace("/", "//"), 404),
        ("GET", "/v1/engines/%2e%2e/engines/styles", 404),
        ("GET", "/v1/engines/styles%00", 404),
        ("GET", "/v1/engines/styles;x", 404),
        ("GET", "/v1/engines/%c0%ae%c0%ae/styles", 404),
        ("GET", "/V1/engines/styles", 404),
        ("GET", "/" + "x" * 20_000, 404),
        ("GET", URL, 405),
        ("POST", "/ping", 405),
        ("PUT", "/v1/queue/pause", 405),
        ("BREW", "/ping", 405),
        ("PATCH", f"/v1/generation/jobs/{UNKNOWN_ID}", 405),
    ],
    ids=lambda value: str(value)[:40],
)
def test_b49_unknown_paths_and_verbs(client: Prober, method: str, path: str, status: int) -> None:
    answer = client.request(method, f"http://testserver{path}")
    assert answer.status_code == status
    assert answer.json() == {"detail": {404: "Not Found", 405: "Method Not Allowed"}[status]}
    assert ("allow" in answer.headers) == (status == 405)


def test_b49_a_wrong_verb_is_told_every_right_one(client: Prober) -> None:
    documented = client.request("GET", "http://testserver/openapi.json").json()["paths"]
    assert {"get", "delete"} <= set(documented["/v1/generation/jobs/{job_id}"])
    for path, operations in documented.items():
        answer = client.request("BREW", f"http://testserver{re.sub('{.*?}', 'x', path)}")
        allowed = set(answer.headers["allow"].lower().split(", ")) - {"head"}
        assert allowed == {verb for verb in operations if verb in VERBS}


@pytest.fixture(scope="module")
def folder(client: Prober) -> Path:
    """A date folder with two pictures and a link to a file outside."""
    folder = client.outputs / "files" / DATE
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.png").write_bytes(encode(plain(8, 8)))
    (folder / "a.jpg").write_bytes(encode(plain(8, 8), "JPEG"))
    (client.outputs / "files" / "outside.png").write_bytes(encode(plain(8, 8)))
    (folder / "link.png").symlink_to(client.outputs / "database.db")
    return folder


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/outside.png",
        f"{DATE}/..%5coutside.png",
        f"{DATE}/..%2foutside.png",
        f"{DATE}/link.png",
        f"{DATE}/a.png/",
        f"{DATE}/A.PNG%00.png",
        f"{DATE}%2f..%2f/a.png",
        f"%20{DATE}/a.png",
        DATE,
        "",
    ],
)
def test_b50_paths_of_files(client: Prober, folder: Path, path: str) -> None:
    answer = client.get(f"/files/{path}")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize(
    "accept", ["*/*;q=0", "image/png;q=0, image/jpeg;q=0", "x" * 10_000, ",;,;=", "image/*", "\t"]
)
def test_b50_odd_accept_headers_get_what_is_stored(
    client: Prober, folder: Path, accept: str
) -> None:
    answer = client.get(f"/files/{DATE}/a.png", headers={"accept": accept})
    assert answer.content == (folder / "a.png").read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("accept", ["image/png", "image/jpg"])
def test_b50_what_is_converted_has_a_tag_of_its_own(
    client: Prober, folder: Path, accept: str
) -> None:
    tags = {
        client.get(f"/files/{DATE}/{name}", headers={"accept": accept}).headers["ETag"]
        for name in ("a.png", "a.jpg")
    }
    assert len(tags) == 2


@pytest.mark.parametrize(
    ("ranges", "statuses"),
    [
        ("bytes=" + ",".join(["0-0"] * 10_000), (200, 206, 416)),
        ("bytes=" + ",".join(f"{start}-" for start in range(10_000)), (200, 206, 416)),
        ("bytes=-0", (416, 400)),
        ("bytes=9-1", (416, 400)),
        ("bytes=0-999999999999", (206,)),
        ("bytes=99999999999-", (416,)),
        ("bytes=a-b", (200, 400, 416)),
        ("lines=1-2", (200, 400, 416)),
        ("bytes=" + "9" * 5000 + "-", (400, 416)),
    ],
    ids=lambda value: str(value)[:24],
)
def test_b51_ranges(client: Prober, folder: Path, ranges: str, statuses: tuple[int, ...]) -> None:
    answer = client.get(f"/files/{DATE}/a.jpg", headers={"range": ranges})
    assert answer.status_code in statuses
    assert len(answer.content) < 5000


@pytest.mark.parametrize(
    "host",
    [
        "evil.example/path",
        "evil.example?x",
        "user@evil.example",
        "a b",
        "a,b",
        "evil.example:port",
        "evil.example:123456",
        "[::1",
        "<script>",
        "",
    ],
)
def test_b52_hosts_that_are_none(client: Prober, host: str) -> None:
    answer = client.get("/ping", headers={"host": host})
    assert (answer.status_code, set(answer.json())) == (400, {"detail"})


@pytest.mark.parametrize("host", ["pictures.example", "a_b:8888", "[::1]:8888", "127.0.0.1"])
def test_b52_addresses_in_answers_do_not_come_from_the_request(client: Prober, host: str) -> None:
    headers = {
        "host": host,
        "x-forwarded-host": "evil.example",
        "x-forwarded-for": "8.8.8.8",
        "x-forwarded-proto": "gopher",
        "forwarded": "host=evil.example",
    }
    (item,) = client.post(URL, json=SMALL, headers=headers).json()
    assert item["url"].startswith("http://127.0.0.1:8888/files/")


def test_b52_callers_cannot_say_from_where_they_call(make_client: MakeClient) -> None:
    client = make_client(rate_limit=1)
    statuses = [
        client.get("/ping", headers={"x-forwarded-for": f"8.8.8.{number}"}).status_code
        for number in range(2)
    ]
    assert statuses == [200, 429]


@pytest.mark.parametrize("given", ["x" * 129, "a b", "a\tb", "é".encode(), "", "<script>", "a;b"])
def test_b53_request_ids_that_are_none_are_replaced(client: Prober, given: str | bytes) -> None:
    answer = client.get("/ping", headers={b"x-request-id": given})  # type: ignore[dict-item]
    assert len(answer.headers["X-Request-ID"]) == 32


def test_request_ids_are_kept_in_answers_of_every_kind(client: Prober) -> None:
    given = "a.B-c_1" * 18
    for method, path in (("GET", "/ping"), ("GET", "/none"), ("GET", URL), ("POST", "/v1/x/..")):
        answer = client.request(method, path, headers={"x-request-id": given})
        assert answer.headers["X-Request-ID"] == given
    problem = client.get(f"/v1/generation/jobs/{UNKNOWN_ID}", headers={"x-request-id": given})
    assert problem.json()["request_id"] == given


def test_b53_headers_beyond_ascii(client: Prober) -> None:
    for name in (b"user-agent", b"accept", b"referer", b"x-api-key"):
        assert client.get("/ping", headers={name: b"\xff\xfe\xe9"}).status_code == 200  # type: ignore[dict-item]


ALLOWED = "https://good.example"
FOREIGN: dict[str, dict[str, str]] = {
    "another origin": {"origin": "https://evil.example"},
    "another scheme": {"origin": "http://good.example"},
    "another port": {"origin": "https://good.example:444"},
    "a longer name": {"origin": "https://good.example.evil.example"},
    "no origin of its own": {"origin": "null"},
    "only the site": {"sec-fetch-site": "cross-site"},
    "the same site": {"sec-fetch-site": "same-site"},
    "a name that leads here": {"origin": "http://testserver"},
    "no address": {"origin": "http://["},
}


@pytest.fixture
def listed(make_client: MakeClient) -> TestClient:
    """A client of a server that only the pages of one origin may call."""
    return make_client(cors_origins=(ALLOWED,), base_url="https://own.example/api")


@pytest.mark.parametrize("sent_by", FOREIGN)
def test_b55_other_pages_may_not_call(listed: TestClient, sent_by: str) -> None:
    headers = {**FOREIGN[sent_by], "content-type": "text/plain"}
    for method, path in (
        ("POST", URL),
        ("POST", "/v1/generation/stop"),
        ("GET", "/v1/engines/clean_vram"),
        ("DELETE", f"/v1/generation/jobs/{UNKNOWN_ID}"),
    ):
        answer = listed.request(method, path, headers=headers)
        assert answer.status_code == 403, path
        assert "access-control-allow-origin" not in answer.headers
    assert answer.json()["code"] == "foreign_page"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": ALLOWED},
        {"origin": "http://localhost:8888", "host": "localhost:8888"},
        {"origin": "http://192.0.2.1:8888", "host": "192.0.2.1:8888"},
        {"origin": "https://own.example", "host": "own.example"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
    ids=str,
)
def test_b55_listed_pages_and_programs_may(listed: TestClient, headers: dict[str, str]) -> None:
    assert listed.post("/v1/generation/stop", headers=headers).status_code == 200


def test_b55_links_from_other_sites_lead_to_the_start_page(listed: TestClient) -> None:
    for path in ("/", "/ping", "/docs", "/health"):
        assert listed.get(path, headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_b55_pages_of_any_origin_may_call_by_default_but_not_as_text(client: Prober) -> None:
    headers = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert client.post("/v1/generation/stop", headers=headers).status_code == 200
    answer = client.post(URL, content=b"{}", headers={**headers, "content-type": "text/plain"})
    assert answer.status_code == 422


def test_b55_a_keyed_server_wants_the_key_of_pages_too(make_client: MakeClient) -> None:
    keyed = make_client(api_keys=KEYS)
    headers = {"origin": "https://evil.example"}
    answer = keyed.post("/v1/generation/stop", headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-credentials" not in answer.headers
    assert keyed.get("/ping", headers={**headers, **as_("anna")}).status_code == 200


IDS = ["x" * 10_000, "' or 1=1--", UNKNOWN_ID.upper(), "%00", "..%2fx", "%ff", "a%1b", "💥", "%0a"]


@pytest.mark.parametrize("job_id", IDS, ids=lambda text: f"{text[:12]!a}")
def test_b56_ids_of_no_job(client: Prober, job_id: str) -> None:
    place = f"/v1/generation/jobs/{job_id}"
    assert client.get(f"/v1/generation/query-job?job_id={job_id}").status_code == 404
    assert client.post(f"/v1/generation/stop?job_id={job_id}").status_code == 404
    assert client.get(place).status_code == 404
    assert client.delete(place).status_code == 404
    for action in ("cancel", "skip", "retry", "events-token"):
        assert client.post(f"{place}/{action}").status_code == 404
    history = client.get(f"/v1/generation/job-history?job_id={job_id}").json()
    assert history == {"queue": [], "history": []}
    gone = client.get(f"/v1/generation/job-history?delete=true&job_id={job_id}")
    assert gone.status_code == 404


def test_b56_no_id(client: Prober) -> None:
    assert client.get("/v1/generation/query-job").status_code == 422
    assert client.get("/v1/generation/query-job?job_id=").status_code in (404, 422)
    assert client.get("/v1/generation/jobs/").status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "page=-1",
        "page_size=0",
        "page_size=1000000000",
        "page_size=a",
        "page=1.5",
        "page=",
        "delete=x",
    ],
)
def test_b57_pages_of_the_history(client: Prober, query: str) -> None:
    answer = client.get(f"/v1/generation/job-history?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


@pytest.mark.parametrize("persistent", [False, True])
def test_b57_a_page_beyond_all_numbers_is_empty_or_refused(
    make_client: MakeClient, persistent: bool
) -> None:
    client = make_client(persistent=persistent)
    for page in (10**9, 2**63, 10**30):
        answer = client.get(f"/v1/generation/job-history?page={page}&page_size=1000")
        assert answer.status_code == 422 or answer.json()["history"] == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=a",
        "cursor=0",
        "cursor=-1",
        "cursor=abc",
        "cursor=9999999999999999999",
        "cursor=' or 1=1",
        "status=none",
        "type=none",
    ],
)
def test_b57_pages_of_jobs(client: Prober, query: str) -> None:
    answer = client.get(f"/v1/generation/jobs?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["loc"][:2] == ["query", query.partition("=")[0]]


def test_b59_a_key_used_with_another_body(client: Prober) -> None:
    headers = {"idempotency-key": "the same"}
    assert client.post(URL, json=SMALL, headers=headers).status_code == 200
    answer = client.post(URL, json={**SMALL, "prompt": "other"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    "prefer",
    ["wait=-1", "wait=1e9", "wait=nan", "wait=" + "9" * 5000, ";;,,==", "x" * 5000, "wait"],
)
def test_b60_preferences_that_make_no_sense(client: Prober, prefer: str) -> None:
    answer = client.post(URL, json=SMALL, headers={"prefer": prefer})
    assert (answer.status_code, len(answer.json())) == (200, 1)
    assert "Preference-Applied" not in answer.headers


def test_b60_waiting_has_a_limit(client: Prober) -> None:
    answer = client.post(URL, json=SMALL, headers={"prefer": "wait=999999"})
    assert answer.headers["Preference-Applied"] == "wait=3600"
