"""Wildcards in a prompt."""

from __future__ import annotations

import re
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fooocus_core.errors import InvalidInputError
from fooocus_core.files import list_files
from fooocus_core.prompt.wildcards import Wildcards
from tests.golden import GOLDEN, load_json
from tests.malformed import TEXT_FAULTS, Fault

CHECKS = load_json("check-values-text-to-image")["wildcards"]


def write_files(folder: Path, files: dict[str, list[str]]) -> Path:
    for name, lines in files.items():
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines), encoding="utf-8")
    return folder


def fill(folder: Path, text: str) -> str:
    return Wildcards([folder]).fill(text, Random(0), image=0, in_order=False)


@pytest.mark.parametrize(
    ("text", "seed", "image", "in_order", "expected"), load_json("components/text")["wildcards"]
)
def test_wildcards_equal_the_recorded_texts(
    text: str, seed: int, image: int, in_order: bool, expected: str
) -> None:
    wildcards = Wildcards([GOLDEN / "data"])
    assert wildcards.fill(text, Random(seed), image=image, in_order=in_order) == expected


@pytest.mark.parametrize("case", CHECKS["cases"], ids=lambda case: case["text"])
def test_wildcards_draw_the_recorded_number_of_random_numbers(
    case: dict[str, Any], tmp_path: Path
) -> None:
    wildcards = Wildcards([write_files(tmp_path, CHECKS["files"])])
    rng = Random(case["seed"])
    text = wildcards.fill(case["text"], rng, image=case["i"], in_order=case["in_order"])
    assert (text, rng.random()) == (case["out"], case["next_random"])


def test_files_are_listed_sub_folders_first(tmp_path: Path) -> None:
    assert list_files(write_files(tmp_path, CHECKS["files"])) == CHECKS["listing"]


def test_the_first_file_of_a_name_counts(tmp_path: Path) -> None:
    own = write_files(tmp_path / "own", {"hue": ["mine"]})
    wildcards = Wildcards([own, GOLDEN / "data"])
    text = wildcards.fill("__hue__ __place__", Random(1), image=0, in_order=True)
    assert text == "mine lighthouse"


def test_b06_a_wildcard_that_names_itself_ends(tmp_path: Path) -> None:
    folder = write_files(tmp_path, {"a": ["x __a__"]})
    assert fill(folder, "__a__") == "x " * 64 + "__a__"


def test_b06_a_wildcard_that_doubles_itself_is_refused(tmp_path: Path) -> None:
    folder = write_files(tmp_path, {"a": ["__a__ __a__ and more"]})
    with pytest.raises(InvalidInputError, match="'a'"):
        fill(folder, "__a__")


@pytest.mark.parametrize("text", ["__../secret__", "__a/b__", "__..__"])
def test_b06_a_placeholder_is_no_path(text: str, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    folder = write_files(tmp_path / "wildcards", {"a/b": ["inside"]})
    assert fill(folder, text) == text


@pytest.mark.parametrize("fault", TEXT_FAULTS, ids=lambda fault: fault.name)
def test_b66_a_malformed_file_is_left_out_with_one_warning_naming_file_and_line(
    fault: Fault, tmp_path: Path
) -> None:
    path = fault.write(tmp_path / "sub" / "hue.txt")
    wildcards = Wildcards([tmp_path])
    rng = Random(0)
    text = wildcards.fill("__hue__, __hue__ and __hue__", rng, image=0, in_order=False)
    assert text == "hue, hue and hue"
    assert rng.random() == Random(0).random()
    (warning,) = wildcards.warnings
    assert fault.place(path) in warning


def test_the_next_file_of_a_name_takes_the_place_of_a_malformed_one(tmp_path: Path) -> None:
    own = TEXT_FAULTS[0].write(tmp_path / "hue.txt").parent
    wildcards = Wildcards([own, GOLDEN / "data"])
    assert wildcards.fill("__hue__", Random(0), image=0, in_order=True) == "crimson"
    assert len(wildcards.warnings) == 1


def test_the_longest_prompt_is_filled_at_once(tmp_path: Path) -> None:
    folder = write_files(tmp_path, {"hue": ["red"]})
    text = " ".join(f"__n{number}__ __hue__" for number in range(50_000))
    began = time.process_time()
    filled = fill(folder, text)
    assert time.process_time() - began < 2.0
    assert filled == " ".join(f"n{number} red" for number in range(50_000))


def test_b06_too_many_glued_placeholders_are_refused(tmp_path: Path) -> None:
    text = " ".join(f"__a__{number}__" for number in range(60_000))
    with pytest.raises(InvalidInputError, match="wildcard"):
        fill(tmp_path, text)


@pytest.mark.parametrize("seed", range(40))
def test_placeholders_are_replaced_one_after_the_other(seed: int, tmp_path: Path) -> None:
    files = {"a": ["x", "__b__", "y_"], "b": ["_z", "w w"], "_c": ["q"], "a__b": ["__a__"]}
    rng = Random(seed)
    pieces = ["__a__", "__b__", "__no__", "___c__", "__a__b__", "_", " ", "x", "__"]
    text = "".join(rng.choice(pieces) for _ in range(12))
    drawn, expected = Random(seed), text
    for _ in range(64):
        for name in re.findall(r"__([\w-]+)__", expected):
            if name in files:
                expected = expected.replace(f"__{name}__", drawn.choice(files[name]), 1)
            else:
                expected = expected.replace(f"__{name}__", name)
    wildcards = Wildcards([write_files(tmp_path, files)])
    assert wildcards.fill(text, Random(seed), image=0, in_order=False) == expected
