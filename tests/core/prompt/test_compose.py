"""The order of all prompt features."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from fooocus_core.choices import EXPANSION_STYLE, RANDOM_STYLE
from fooocus_core.errors import InvalidInputError
from fooocus_core.params import Lora, PromptParams
from fooocus_core.prompt.compose import (
    ComposedPrompts,
    LoraChoice,
    _without_empty,
    clean_line,
    compose_prompts,
)
from fooocus_core.prompt.styles import Style, StyleLibrary
from fooocus_core.prompt.wildcards import Wildcards
from tests.golden import GOLDEN, load_json
from tests.golden_jobs import (
    PICTURES_WITH_TEXTS,
    RECORDED_JOBS,
    TEXT_TO_IMAGE_JOBS,
    composed_of_job,
)
from tests.malformed import TEXT_FAULTS

TEXT = load_json("components/text")
LIBRARY = StyleLibrary(
    [
        Style(name="Both", positive="photo of {prompt}, sharp", negative="dull"),
        Style(name="Tail", positive="soft light", negative=""),
    ]
)


def compose(
    positive: str = "", negative: str = "", styles: tuple[str, ...] = (), **choice: Any
) -> ComposedPrompts:
    return compose_prompts(
        PromptParams(positive=positive, negative=negative, styles=styles),
        seeds=(1, 2),
        loras=LoraChoice(**choice),
        styles=LIBRARY,
        wildcards=Wildcards([GOLDEN / "data"]),
    )


@pytest.mark.parametrize(("text", "cleaned"), TEXT["safe_str"])
def test_lines_are_cleaned_as_recorded(text: str, cleaned: str) -> None:
    assert clean_line(text) == cleaned


@pytest.mark.parametrize(("name", "image"), PICTURES_WITH_TEXTS)
def test_texts_of_recorded_jobs(name: str, image: int) -> None:
    recorded = load_json(f"jobs/{name}/job")
    picture, loras = composed_of_job(recorded, image)
    task = recorded["images"][image]["task"]
    rows = {key: value for _, key, value in recorded["images"][image]["metadata"]}
    expansion = [task["expansion"]] if task["expansion"] else []
    assert picture.seed == task["task_seed"]
    assert [*picture.positive, *expansion] == task["positive"]
    assert list(picture.negative) == task["negative"]
    assert picture.positive_top_k == task["positive_top_k"]
    assert picture.negative_top_k == task["negative_top_k"]
    assert list(picture.styles) == task["styles"]
    assert picture.log_positive == rows["prompt"]
    assert picture.log_negative == rows["negative_prompt"]
    assert [f"{lora.name} : {lora.weight}" for lora in loras] == [
        value for key, value in rows.items() if key.startswith("lora_combined_")
    ]


def test_every_recorded_job_is_there() -> None:
    assert len(RECORDED_JOBS) == 21
    assert len(PICTURES_WITH_TEXTS) == 22
    assert set(TEXT_TO_IMAGE_JOBS) < set(RECORDED_JOBS)


@pytest.mark.parametrize(("lines", "fallback", "kept"), TEXT["remove_empty_str"])
def test_empty_texts_are_left_out_as_recorded(
    lines: list[str], fallback: str | None, kept: list[str]
) -> None:
    assert _without_empty(lines, fallback or "") == kept


def test_the_tag_of_the_recorded_lora_job_adds_its_lora() -> None:
    args = load_json("jobs/t2i_lora/job")["args"]
    given = tuple(Lora(name=name, weight=weight) for name, weight in args["loras"])
    composed = compose(args["prompt"], given=given, files=tuple(TEXT["lora_filenames"]))
    assert composed.loras == (*given, Lora(name="tiny_lora_b.safetensors", weight=0.4))


def test_the_expansion_is_a_wish_and_no_style() -> None:
    composed = compose("a cat", styles=(EXPANSION_STYLE, "Tail", EXPANSION_STYLE))
    assert composed.wants_expansion
    assert composed.pictures[0].styles == ("Tail",)


@pytest.mark.parametrize("prompt", ["", " ,.\n\n"])
def test_an_empty_prompt_wants_no_expansion_and_gives_one_empty_text(prompt: str) -> None:
    composed = compose(prompt, styles=(EXPANSION_STYLE,))
    assert not composed.wants_expansion
    assert composed.pictures[0].positive == ("",)
    assert composed.pictures[0].negative == ("",)


def test_a_style_without_placeholder_leaves_the_prompt_first() -> None:
    picture = compose("a cat", "dog", styles=("Tail",)).pictures[0]
    assert picture.positive == ("a cat", "soft light")
    assert picture.negative == ("dog",)


def test_a_style_with_placeholder_takes_the_prompt_in() -> None:
    picture = compose("a cat\nextra", "dog\nmore", styles=("Tail", "Both")).pictures[0]
    assert picture.positive == ("soft light", "photo of a cat, sharp", "extra")
    assert picture.negative == ("dull", "dog", "more")


def test_random_styles_are_drawn_after_all_wildcards() -> None:
    picture = compose("a __hue__ cat", "__hue__", styles=(RANDOM_STYLE,)).pictures[0]
    rng = Random(1)
    hues = ["crimson", "teal", "ochre", "violet"]
    drawn = [rng.choice(hues), rng.choice(hues), rng.choice(LIBRARY.names)]
    assert [picture.main, picture.log_negative, *picture.styles] == [
        f"a {drawn[0]} cat",
        drawn[1],
        drawn[2],
    ]


def test_every_picture_has_its_own_random_numbers() -> None:
    mains = [picture.main for picture in compose("a __hue__ cat").pictures]
    assert mains == ["a teal cat", "a crimson cat"]


def test_the_first_line_is_tidied_and_the_others_are_not() -> None:
    picture = compose("a,b [[x,y]]\nc,d").pictures[1]
    assert picture.log_positive == "a, b  y\nc,d"


def test_unknown_names_are_warned_of_or_refused(tmp_path: Path) -> None:
    assert "'x'" in compose("<lora:x:1>").warnings[0]
    with pytest.raises(InvalidInputError, match="'Nope'"):
        compose("a cat", styles=("Nope",))


def test_b04_control_characters_other_than_tabs_and_line_ends_are_left_out() -> None:
    composed = compose("a\0 \x1bcat\ton\x7f\r\nmore\x08", "\x01dull\nbad\0")
    picture = composed.pictures[0]
    assert picture.positive == ("a cat\ton", "more")
    assert picture.negative == ("dull", "bad")
    assert (picture.log_positive, picture.log_negative) == ("a cat\ton\nmore", "dull\nbad")


def test_a_malformed_wildcard_is_warned_about_once_for_all_pictures(tmp_path: Path) -> None:
    path = TEXT_FAULTS[0].write(tmp_path / "hue.txt")
    composed = compose_prompts(
        PromptParams(positive="a __hue__ cat\n__hue__", negative="__hue__"),
        seeds=(1, 2, 3),
        loras=LoraChoice(),
        styles=LIBRARY,
        wildcards=Wildcards([tmp_path]),
    )
    (warning,) = composed.warnings
    assert f"{path}, line 1" in warning
    assert [picture.main for picture in composed.pictures] == ["a hue cat"] * 3
