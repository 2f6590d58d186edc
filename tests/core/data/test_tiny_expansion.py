"""The prompt expansion that comes along for the embedded model."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fooocus_core.catalog import Catalog, ModelKind
from fooocus_core.config import TINY_MODELS, DeviceOptions, load_config
from fooocus_core.errors import InvalidInputError
from fooocus_core.loading.memory import plan_device
from fooocus_core.prompt.compose import clean_line
from fooocus_core.text.expansion import TOKENS_PER_BLOCK, PromptExpansion, load_expansion
from fooocus_core.text.tokens import Tokenizer
from tools.drawing import draw
from tools.evaluate_expansion import evaluate, load_embedded
from tools.flattery import TOPICS, is_phrase, positive_words

CIRCLE = "a red circle on a blue background"
SUNSET = "a sunset over the sea"
RECORDED = (
    "a red circle on a blue background, exact pure simplicity, vivid shades, intricate texture, "
    "smooth curves, inspiring, sharp edges, clean outlines, neat lines, precise definition, "
    "crisp strokes, memorable, vibrant palette, elegant balanced layout, strong framing, "
    "minimal precision, flawless perfect geometry, mathematical silhouette, outstanding, "
    "iconic, refined artwork, rich clarity, unified composition, saturated hues"
)
EMBEDDED = TINY_MODELS / "prompt_expansion" / "fooocus_expansion"


@pytest.fixture(scope="module")
def expansion() -> PromptExpansion:
    return load_embedded()


def phrases_behind(prompt: str, expansion: PromptExpansion) -> list[str]:
    texts = [expansion.expand(prompt, seed) for seed in range(3)]
    return [part for text in texts for part in text.removeprefix(f"{prompt}, ").split(", ")]


def words_of(text: str) -> list[str]:
    return text.replace(",", " ").split()


def test_the_allowed_words_are_those_of_praise(expansion: PromptExpansion) -> None:
    allowed = (expansion.word_bias == 0).nonzero()[:, 0].tolist()
    assert sorted(expansion.tokenizer.decode([n]).strip() for n in allowed) == positive_words()


def test_a_seed_adds_the_same_words_on_every_day(expansion: PromptExpansion) -> None:
    assert expansion.expand(CIRCLE, 7) == RECORDED
    assert expansion.expand(CIRCLE, 7 + 2**32) == RECORDED
    assert expansion.expand(CIRCLE, 8) != RECORDED


def test_captions_are_continued_with_phrases_that_fit(expansion: PromptExpansion) -> None:
    scores = evaluate(expansion, 15)

    assert scores["whole phrases"].right > 0.9 * scores["whole phrases"].asked > 200
    assert scores["fitting words"].right > 0.9 * scores["fitting words"].asked > 100
    assert scores["clean ends"].right > 0.8 * scores["clean ends"].asked


def test_what_is_praised_depends_on_what_is_asked_for(expansion: PromptExpansion) -> None:
    said = {
        prompt: [w for seed in range(4) for w in words_of(expansion.expand(prompt, seed))]
        for prompt in (CIRCLE, SUNSET)
    }

    def count(prompt: str, topic: str) -> int:
        words = {word for family in TOPICS[topic] for word in family.words}
        return sum(word in words for word in said[prompt])

    assert count(CIRCLE, "shapes") > 3 * count(SUNSET, "shapes") + 20
    assert count(SUNSET, "scenery") > 3 * count(CIRCLE, "scenery") + 15


def test_an_expanded_caption_fits_one_chunk_of_the_text_encoders(
    expansion: PromptExpansion,
) -> None:
    rng, clip = random.Random(4), Tokenizer()
    for seed in range(6):
        text = expansion.expand(draw(rng, (16, 16)).caption, seed)
        assert len(clip.ids(text)) <= TOKENS_PER_BLOCK


@pytest.mark.parametrize(
    "prompt",
    [
        "x",
        "Ein alter Leuchtturm im Sturm, größer als je zuvor",
        "一只红色的猫坐在椅子上",
        "🐱🏽‍🚀 \u200d\ufffd é\u0301 \x7f ÿ",
        "قطة حمراء ((red:1.2)) <lora:x:1>",
        "an astronaut riding a horse " * 40,
        ", ".join(positive_words()),
    ],
    ids=["letter", "german", "chinese", "emoji", "marks", "long", "praise"],
)
def test_any_text_is_continued_with_praise(expansion: PromptExpansion, prompt: str) -> None:
    text = expansion.expand(prompt, 3)

    before = expansion.tokenizer.clean_up_tokenization(clean_line(prompt))
    assert text.startswith(before)
    added = words_of(text.removeprefix(before))
    assert added
    assert set(added) <= set(positive_words())


def test_an_unknown_prompt_is_continued_with_whole_phrases(expansion: PromptExpansion) -> None:
    prompt = "an astronaut riding a horse in a neon city"
    phrases = phrases_behind(prompt, expansion)
    assert sum(map(is_phrase, phrases)) > 0.85 * len(phrases) > 25


def test_a_prompt_beyond_its_positions_is_refused(expansion: PromptExpansion) -> None:
    with pytest.raises(InvalidInputError, match="at most 2025 can be expanded"):
        expansion.expand("a cat " * 2000, 0)


def test_it_speaks_in_half_precision_as_on_a_gpu(expansion: PromptExpansion) -> None:
    plan = replace(plan_device(None, DeviceOptions()), expansion=torch.float16)
    half = load_expansion([EMBEDDED], plan)
    assert half is not None
    phrases = phrases_behind(CIRCLE, half)
    assert half.model.dtype == torch.float16
    assert sum(map(is_phrase, phrases)) > 0.85 * len(phrases) > 40


def test_other_presets_do_not_find_it(tmp_path: Path) -> None:
    for preset, missing in (("tiny", 0), ("default", 5)):
        catalog = Catalog(load_config(root=tmp_path, preset=preset, environ={}).folders)
        assert len(catalog.missing_expansion_files()) == missing
        assert bool(catalog.names(ModelKind.EXPANSION)) is (missing == 0)
