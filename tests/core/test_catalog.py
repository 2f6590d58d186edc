"""Which model files exist, and where."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from fooocus_core.catalog import Catalog, ModelKind, choose_base
from fooocus_core.config import Folders, load_config
from fooocus_core.errors import ModelNotFoundError


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    names = ["a/b.safetensors", "a/c.txt", "a/sub/D.ckpt", "a/x.part", "b/b.safetensors", "b/e.pth"]
    for name in [*names, "secret.safetensors"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    environ = {"path_checkpoints": "['a', 'b']", "path_inpaint": "a"}
    return Catalog(load_config(root=tmp_path, environ=environ).folders)


def test_every_kind_has_folders() -> None:
    assert {kind.value for kind in ModelKind} <= {field.name for field in fields(Folders)}


def test_names_are_listed_folder_after_folder_and_once(catalog: Catalog) -> None:
    assert catalog.names(ModelKind.CHECKPOINT) == ["sub/D.ckpt", "b.safetensors", "e.pth"]


def test_missing_folders_have_no_names(catalog: Catalog) -> None:
    assert catalog.names(ModelKind.LORA) == []


def test_new_files_are_seen(catalog: Catalog, tmp_path: Path) -> None:
    catalog.names(ModelKind.CHECKPOINT)
    (tmp_path / "a" / "new.fooocus.patch").touch()
    assert "new.fooocus.patch" in catalog.names(ModelKind.CHECKPOINT)


def test_the_first_folder_with_the_file_counts(catalog: Catalog, tmp_path: Path) -> None:
    found = catalog.find(ModelKind.CHECKPOINT, "b.safetensors")
    assert found == tmp_path / "a" / "b.safetensors"


def test_companion_files_of_any_kind_are_found(catalog: Catalog, tmp_path: Path) -> None:
    assert catalog.find(ModelKind.INPAINT, "c.txt") == tmp_path / "a" / "c.txt"


@pytest.mark.parametrize(
    ("name", "matched"), [("sub\\D.ckpt", "sub/D.ckpt"), ("e.pth", "e.pth"), ("D.ckpt", None)]
)
def test_names_match_with_either_separator(
    name: str, matched: str | None, catalog: Catalog
) -> None:
    assert catalog.match(ModelKind.CHECKPOINT, name) == matched


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "C:\\x.ckpt", "./b.safetensors", "", "\0"]
)
def test_b18_a_name_never_leads_out_of_the_folders(
    name: str, catalog: Catalog, tmp_path: Path
) -> None:
    assert catalog.match(ModelKind.CHECKPOINT, name) is None
    with pytest.raises(ModelNotFoundError) as raised:
        catalog.find(ModelKind.CHECKPOINT, name)
    assert f"{tmp_path / 'a'}, {tmp_path / 'b'}" in str(raised.value)


def test_b65_a_file_whose_name_is_not_utf8_is_left_out_and_logged_once(
    catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    before = catalog.names(ModelKind.CHECKPOINT)
    (catalog.folders(ModelKind.CHECKPOINT)[0] / os.fsdecode(b"\xff.safetensors")).touch()
    assert catalog.names(ModelKind.CHECKPOINT) == before
    assert catalog.names(ModelKind.CHECKPOINT) == before
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("default", "previous", "expected"),
    [
        ("two.safetensors", ("one.safetensors",), "two.safetensors"),
        ("no.safetensors", ("none.safetensors", "one.safetensors"), "one.safetensors"),
        ("no.safetensors", (), None),
    ],
    ids=["default", "previous", "none"],
)
def test_the_base_model_is_the_default_or_the_first_previous_one_that_exists(
    default: str, previous: tuple[str, ...], expected: str | None, tmp_path: Path
) -> None:
    config = load_config(root=tmp_path, environ={})
    (folder,) = config.folders.checkpoints
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("one.safetensors", "two.safetensors"):
        (folder / name).touch()
    defaults = replace(config.defaults, model=default, previous_models=previous)
    assert choose_base(Catalog(config.folders), defaults) == expected


def test_b65_links_that_lead_back_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "loras"
    folder.mkdir(parents=True)
    (folder / "back").symlink_to(folder)
    (folder / "loop.safetensors").symlink_to("loop.safetensors")
    (folder / "line\nend.safetensors").touch()
    catalog = Catalog(load_config(root=tmp_path, environ={}).folders)
    assert catalog.names(ModelKind.LORA) == ["line\nend.safetensors", "loop.safetensors"]


@pytest.mark.slow
def test_b65_a_hundred_thousand_files_are_listed_in_two_seconds(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "loras"
    folder.mkdir(parents=True)
    for number in range(100_000):
        (folder / f"{number}.safetensors").touch()
    catalog = Catalog(load_config(root=tmp_path, environ={}).folders)
    began = time.process_time()
    assert len(catalog.names(ModelKind.LORA)) == 100_000
    assert time.process_time() - began < 2


def test_b65_ten_thousand_files_take_little_more_than_the_bare_walk(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / "models" / "loras" / f"folder {number}"
        folder.mkdir(parents=True)
        for file in range(500):
            (folder / f"Model {file}.safetensors").touch()
    catalog = Catalog(load_config(root=tmp_path, environ={}).folders)
    assert len(catalog.names(ModelKind.LORA)) == 10_000
    scan = best_time(lambda: catalog.names(ModelKind.LORA))
    # It takes twice as long as the walk.
    assert scan < 6 * best_time(lambda: list(os.walk(tmp_path)))


def best_time(work: Callable[[], object]) -> float:
    """Seconds of the shortest of some runs, which other work on the machine disturbs least."""
    times = []
    for _ in range(7):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)
