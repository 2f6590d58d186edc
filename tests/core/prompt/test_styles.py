"""The table of styles."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fooocus_core.errors import InvalidInputError
from fooocus_core.prompt.styles import (
    PACKS,
    Style,
    StyleLibrary,
    load_styles,
    normalise_name,
)
from tests.golden import GOLDEN, load_json
from tests.malformed import Fault, json_faults

FAULTS = json_faults(
    '[\n{"name": "first"},\n{"name": "second"}\n]\n',
    ["{}", '{"name": "x"}', "null", "5", "true", '"x"'],
)
TEXT = load_json("components/text")
CHECKS = load_json("check-values-text-to-image")["random_style"]


def tiny_entries() -> list[dict[str, str]]:
    entries: list[dict[str, str]] = load_json("data/styles_tiny")
    return entries


def write_pack(folder: Path, name: str, entries: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("sai-3d-model", "SAI 3D Model"),
        ("mre-cinematic-dynamic", "MRE Cinematic Dynamic"),
        ("ads-fashion editorial", "Ads Fashion Editorial"),
        ("(s)tuff", "(S)tuff"),
        ("MK tlingit-art", "Mk Tlingit Art"),
    ],
)
def test_names_are_normalised(name: str, shown: str) -> None:
    assert normalise_name(name) == shown


def test_names_of_a_users_file_come_first_and_in_order() -> None:
    assert list(load_styles(GOLDEN / "data").names[:5]) == TEXT["style_names"]


@pytest.mark.parametrize(
    ("name", "prompt", "positive", "negative", "has_placeholder"), TEXT["styles"]
)
def test_styles_equal_the_recorded_ones(
    name: str, prompt: str, positive: list[str], negative: list[str], has_placeholder: bool
) -> None:
    style = load_styles(GOLDEN / "data").get(name)
    assert style.positive_lines(prompt) == positive
    assert style.negative_lines() == negative
    assert style.has_placeholder == has_placeholder


@pytest.mark.parametrize(("seed", "expected"), TEXT["random_style"])
def test_random_styles_equal_the_recorded_ones(seed: int, expected: str) -> None:
    names = [normalise_name(entry["name"]) for entry in tiny_entries()]
    library = StyleLibrary(Style(name=name) for name in names)
    assert Random(seed).choice(library.names) == expected


@pytest.mark.parametrize(("seed", "expected"), CHECKS.items())
def test_random_styles_of_our_packs_equal_the_recorded_ones(seed: str, expected: str) -> None:
    assert Random(int(seed)).choice(load_styles(None).names) == expected


def test_our_packs_hold_all_names_without_a_warning() -> None:
    library = load_styles(None)
    assert len(library.legal_names) == 279
    assert library.legal_names[:3] == ("Fooocus V2", "Random Style", "Fooocus Enhance")
    assert library.warnings == ()


def test_a_users_text_wins_over_a_pack_for_the_same_name(tmp_path: Path) -> None:
    folder = write_pack(tmp_path, "mine.json", [{"name": "sai-anime", "prompt": "mine"}])
    library = load_styles(folder)
    assert library.get("SAI Anime").positive == "mine"
    assert library.names[0] == "SAI Anime"
    assert len(library.names) == 277


def test_a_users_file_named_like_a_pack_replaces_it_in_its_place(tmp_path: Path) -> None:
    folder = write_pack(tmp_path, PACKS[0], [{"name": "only one"}])
    names = load_styles(folder).names
    assert names[:2] == ("Only One", "SAI 3D Model")
    assert "Fooocus Sharp" not in names


def test_a_later_file_of_the_user_wins_but_keeps_the_place(tmp_path: Path) -> None:
    entries = [{"name": "x", "prompt": "first"}, {"name": "y"}]
    folder = write_pack(tmp_path, "sub/a.json", entries)
    write_pack(folder, "b.json", [{"name": "X", "prompt": "second"}])
    library = load_styles(folder)
    assert library.names[:2] == ("X", "Y")
    assert library.get("X").positive == "second"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("name", ["mine.json", "sub/mine.json", PACKS[0]])
def test_b66_a_malformed_file_is_left_out_with_one_warning_naming_file_and_line(
    name: str, fault: Fault, tmp_path: Path
) -> None:
    path = fault.write(tmp_path / name)
    write_pack(tmp_path, "other.json", [{"name": "other"}])
    library = load_styles(tmp_path)
    (warning,) = library.warnings
    assert fault.place(path) in warning
    assert library.names == ("Other", *load_styles(None).names)


def test_b66_lists_inside_each_other_without_end_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("[" * 100_000, encoding="utf-8")
    (warning,) = load_styles(tmp_path).warnings
    assert "mine.json" in warning


def test_a_missing_folder_leaves_a_warning(tmp_path: Path) -> None:
    assert "nowhere" in load_styles(tmp_path / "nowhere").warnings[0]


@pytest.mark.parametrize(
    "bad",
    ["text", None, [], {}, {"prompt": "no name"}, {"name": 5}, {"name": "x", "prompt": 1}],
    ids=str,
)
def test_entries_before_a_bad_one_stay(bad: Any, tmp_path: Path) -> None:
    entries = [{"name": "good"}, bad, {"name": "after"}]
    folder = write_pack(tmp_path, "mine.json", entries)
    path = folder / "mine.json"
    path.write_text(path.read_text(encoding="utf-8").replace(", ", ",\n"), encoding="utf-8")
    library = load_styles(folder)
    assert library.names[0] == "Good"
    assert "After" not in library.names
    (warning,) = library.warnings
    assert f"{path}, line 2: entry 2" in warning


@pytest.mark.parametrize(
    ("name", "matched"),
    [
        ("SAI Anime", "SAI Anime"),
        ("sai anime", "SAI Anime"),
        ("FOOOCUS V2", "Fooocus V2"),
        ("random style", "Random Style"),
        ("sai", None),
    ],
)
def test_names_match_but_for_case(name: str, matched: str | None) -> None:
    assert load_styles(None).match(name) == matched


def test_an_unknown_name_is_refused_naming_similar_ones() -> None:
    library = load_styles(None)
    assert library.close_to("sai animee")[0] == "SAI Anime"
    with pytest.raises(InvalidInputError, match="'SAI Anime'"):
        library.get("SAI Animee")
