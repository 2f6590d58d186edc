"""Keys in files and in the environment."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from fooocusapi.api_keys import ApiKeyError, KeyRing, Scope, key_with_every_scope, read_keys

DIGEST = sha256(b"secret").hexdigest()


def test_keys_are_read_from_a_file_and_a_variable(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# who may call\n\nanna:{DIGEST}:generate,read # until May\n")
    found = read_keys(path, f"bert:{DIGEST.upper()}:read ci:{DIGEST}:admin")
    assert [(key.name, key.scopes) for key in found] == [
        ("anna", {Scope.GENERATE, Scope.READ}),
        ("bert", {Scope.READ}),
        ("ci", {Scope.ADMIN}),
    ]
    assert {key.digest for key in found} == {sha256(b"secret").digest()}


@pytest.mark.parametrize(
    "line",
    [
        "anna",
        f"anna:{DIGEST}",
        f"anna:{DIGEST}:",
        f"anna:{DIGEST}:everything",
        f"anna:{DIGEST}:read,",
        f"anna:{DIGEST[1:]}:read",
        f":{DIGEST}:read",
        f"an na:{DIGEST}:read",
        f"änna:{DIGEST}:read",
        "anna:secret:read",
    ],
)
def test_other_lines_are_refused_and_not_shown(tmp_path: Path, line: str) -> None:
    path = tmp_path / "keys"
    path.write_text(f"\n{line}\n")
    with pytest.raises(ApiKeyError, match="line 2: wanted is name:sha256:scopes") as caught:
        read_keys(path, None)
    assert DIGEST[1:] not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ApiKeyError, match="No such file"):
        read_keys(tmp_path / "none", None)
    (tmp_path / "keys").write_bytes(b"\xff")
    with pytest.raises(ApiKeyError, match="UTF-8"):
        read_keys(tmp_path / "keys", None)


@pytest.mark.parametrize("names", ["anna anna", "apikey"])
def test_a_name_is_one_key(names: str) -> None:
    text = "\n".join(f"{name}:{DIGEST}:read" for name in names.split())
    with pytest.raises(ApiKeyError, match="its own"):
        read_keys(None, text)


def test_a_key_is_found_by_its_text_alone() -> None:
    keys = (key_with_every_scope("schlüssel"), *read_keys(None, f"anna:{DIGEST}:read"))
    ring = KeyRing(keys)
    assert [ring.find(text) for text in ("schlüssel", "secret")] == list(keys)
    assert [ring.find(text) for text in ("schlussel", "Secret", "", DIGEST)] == [None] * 4
