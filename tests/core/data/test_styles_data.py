from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fooocus_core.choices import EXPANSION_STYLE, RANDOM_STYLE
from fooocus_core.params import PromptParams
from fooocus_core.prompt.compose import LoraChoice, compose_prompts
from fooocus_core.prompt.styles import (
    PACKS,
    STYLES_FOLDER,
    Style,
    StyleLibrary,
    load_styles,
    normalise_name,
)
from fooocus_core.prompt.wildcards import Wildcards
from fooocus_core.text.tokens import Tokenizer

# The order and spelling of the reference, by file name.
NAMES: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("style_names.json").read_text(encoding="utf-8")
)
ALL_NAMES = [name for names in NAMES.values() for name in names]
# As in the reference, these say only what is not wanted.
NEGATIVE_ONLY = {"Fooocus Enhance", "Fooocus Semi Realistic", "Fooocus Negative"}
PROMPT = "a lighthouse on a cliff"
FEWEST_TERMS = 3
CHUNK_TOKENS = 75
DEFAULT_STYLES = ("Fooocus Enhance", "Fooocus Sharp")
PROMPT_SYNTAX = re.compile(r"[()\[\]<>|\\]|__|embedding:|BREAK")
THINGS_TO_SEE = re.compile(
    r"\b(red|orange|yellow|green|blue|purple|violet|pink|brown|white|black|gr[ae]y|gold|silver"
    r"|colou?r\w*|people|persons?|m[ae]n|wom[ae]n|faces?|hands?|body|animals?|circles?|squares?"
    r"|triangles?|shapes?|sky|sun\w*|moon\w*|sea|trees?|mountains?|city|houses?|day|night|morning"
    r"|evening|photo\w*|painting|drawing|cinematic)\b"
)


@pytest.fixture(scope="module")
def library() -> StyleLibrary:
    return load_styles(None)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer()


def read_pack(file: str) -> list[dict[str, Any]]:
    pack: list[dict[str, Any]] = json.loads((STYLES_FOLDER / file).read_text(encoding="utf-8"))
    return pack


def all_styles() -> list[Style]:
    library = load_styles(None)
    return [library.get(name) for name in library.names]


def test_there_are_exactly_the_six_packs() -> None:
    assert {file.name for file in STYLES_FOLDER.glob("*.json")} == set(PACKS) == set(NAMES)


@pytest.mark.parametrize("file", NAMES)
def test_a_pack_has_the_names_of_the_reference_in_order(file: str) -> None:
    assert [normalise_name(entry["name"]) for entry in read_pack(file)] == NAMES[file]


@pytest.mark.parametrize("file", NAMES)
def test_the_entries_of_a_pack_have_no_other_keys_and_no_empty_texts(file: str) -> None:
    for entry in read_pack(file):
        assert set(entry) <= {"name", "prompt", "negative_prompt"}
        assert all(entry.values()), entry["name"]


def test_the_library_lists_279_legal_names_in_order_without_a_complaint() -> None:
    library = load_styles(None)
    in_packs = [name for file in PACKS for name in NAMES[file]]
    assert len(in_packs) == 277
    assert list(library.legal_names) == [EXPANSION_STYLE, RANDOM_STYLE, *in_packs]
    assert library.warnings == ()


def test_only_the_three_negative_styles_have_no_positive_template() -> None:
    assert {style.name for style in all_styles() if not style.positive} == NEGATIVE_ONLY


def test_every_positive_template_takes_the_prompt_once() -> None:
    wrong = [s.name for s in all_styles() if s.positive and s.positive.count("{prompt}") != 1]
    assert wrong == []


def test_every_style_has_a_negative_template_without_the_prompt() -> None:
    assert [s.name for s in all_styles() if not s.negative or "{" in s.negative] == []


def test_every_template_is_one_trimmed_line_free_of_prompt_syntax() -> None:
    for style in all_styles():
        for text in (style.positive, style.negative):
            assert text == " ".join(text.split()), style.name
            assert not PROMPT_SYNTAX.search(text), style.name


def terms(template: str) -> list[str]:
    """The different things that a template says beside the prompt, each of one or more words."""
    parts = (part.strip(" .").casefold() for part in template.replace("{prompt}", ",").split(","))
    return [part for part in dict.fromkeys(parts) if re.search(r"[a-z]{2}", part)]


def test_every_style_applies_and_says_enough(library: StyleLibrary) -> None:
    for name in ALL_NAMES:
        style = library.get(name)
        composed = compose_prompts(
            PromptParams(positive=PROMPT, negative="fog", styles=(name,)),
            seeds=[0],
            loras=LoraChoice(),
            styles=library,
            wildcards=Wildcards([]),
        )
        (picture,) = composed.pictures
        texts = " ".join((*picture.positive, *picture.negative))
        assert texts.count(PROMPT) == 1, name
        assert not set("{}") & set(texts), name
        assert picture.negative[-1] == "fog", name
        assert len(terms(style.negative)) >= FEWEST_TERMS, name
        assert name in NEGATIVE_ONLY or len(terms(style.positive)) >= FEWEST_TERMS, name


def test_no_two_styles_say_the_same(library: StyleLibrary) -> None:
    said = [
        (frozenset(terms(style.positive)), frozenset(terms(style.negative)))
        for style in map(library.get, ALL_NAMES)
    ]
    assert len(set(said)) == len(ALL_NAMES) == 277


def test_no_two_templates_are_equal() -> None:
    texts = [text for s in all_styles() for text in (s.positive, s.negative) if text]
    assert len(texts) == 274 + 277
    assert len({text.casefold() for text in texts}) == len(texts)


def test_every_template_fits_into_one_chunk_with_a_prompt_of_twenty_tokens(
    tokenizer: Tokenizer,
) -> None:
    for style in all_styles():
        positive = len(tokenizer.ids(style.positive.replace("{prompt}", " ")))
        assert positive + 20 <= CHUNK_TOKENS, style.name
        assert len(tokenizer.ids(style.negative)) <= CHUNK_TOKENS, style.name


@pytest.mark.parametrize("name", DEFAULT_STYLES)
def test_a_default_style_names_qualities_and_nothing_to_be_seen(name: str) -> None:
    style = load_styles(None).get(name)
    assert not THINGS_TO_SEE.findall(f"{style.positive} {style.negative}".lower())
