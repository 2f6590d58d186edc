"""The captioner: what it is given, what it draws, and the files it is loaded from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.weight_file import WeightFile
from fooocus_core.vision.captions import (
    MAX_TOKENS,
    MIN_TOKENS,
    REPETITION_PENALTY,
    TOP_K,
    TOP_P,
    Captioner,
    build_captioner,
    caption_text,
    load_captioner,
    make_tokenizer,
)
from tests.blip_files import WORDS, small_tensors, write_vocabulary, write_weights
from tests.golden import assert_matches, load_arrays, load_picture
from tests.networks import CPU_PLAN, manifest_tensors

PREPARED = load_arrays("image-ops/preprocess")
META = replace(CPU_PLAN, device=torch.device("meta"))
END = WORDS.index("[SEP]")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vocabulary(tmp_path_factory.mktemp("bert") / "vocab.txt")


@pytest.fixture(scope="module")
def captioner(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Captioner:
    path = write_weights(tmp_path_factory.mktemp("blip") / "captioner.pth")
    return load_captioner(path, vocabulary, CPU_PLAN)


def built(tensors: dict[str, Tensor], vocabulary: Path) -> Captioner:
    return build_captioner(file_of(tensors), make_tokenizer(vocabulary), CPU_PLAN)


def file_of(tensors: dict[str, Tensor]) -> WeightFile:
    return WeightFile(path=Path("captioner.pth"), tensors=tensors, metadata={})


def liking(tensors: dict[str, Tensor], **likings: float) -> dict[str, Tensor]:
    """The same network that likes these words more or less."""
    name = "text_decoder.cls.predictions.decoder.bias"
    changed = tensors[name].clone()
    for word, bias in likings.items():
        changed[WORDS.index(word)] = bias
    return {**tensors, name: changed}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def published(vocabulary: Path) -> Captioner:
    """The published network without memory."""
    file = file_of(manifest_tensors("blip_base_caption", ""))
    return build_captioner(file, make_tokenizer(vocabulary), META)


@pytest.mark.parametrize("case", ["c0", "c1"])
def test_pictures_are_stretched_and_normalised_as_recorded(case: str, published: Captioner) -> None:
    pixels = published.fit(PREPARED[f"{case}_image"])

    assert pixels.shape == (1, 3, 384, 384)
    expected = PREPARED[f"{case}_blip_pixel_values_sub_antialias_False"]
    assert_matches(pixels[0, :, ::12, ::12], expected, 1e-5)


def test_the_published_file_fits_with_nothing_left_over(published: Captioner) -> None:
    names = manifest_tensors("blip_base_caption", "")

    assert len(published.network.state_dict()) == len(names) - 1  # without position_ids
    vision, text = (
        published.network.config.vision_config,
        published.network.config.text_config,
    )
    assert (vision.num_hidden_layers, vision.num_attention_heads, vision.patch_size) == (12, 12, 16)
    assert (text.num_hidden_layers, text.num_attention_heads, text.vocab_size) == (12, 12, 30524)
    assert (vision.layer_norm_eps, text.layer_norm_eps) == (1e-6, 1e-12)
    assert (vision.hidden_act, text.hidden_act) == ("gelu", "gelu")


@pytest.mark.parametrize("bias", [-20.0, 15.0], ids=["to the limit", "with an end"])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_drawn_is_what_the_library_draws(seed: int, bias: float, vocabulary: Path) -> None:
    captioner = built(liking(small_tensors(), **{"[SEP]": bias}), vocabulary)
    image, tokenizer = load_picture("ip_a"), make_tokenizer(vocabulary)
    config = captioner.network.config.text_config
    config.bos_token_id, config.sep_token_id = len(WORDS), END

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ids = captioner.network.generate(
            pixel_values=captioner.fit(image),
            input_ids=tokenizer("a picture of ", return_tensors="pt").input_ids,
            do_sample=True,
            top_k=TOP_K,
            top_p=TOP_P,
            repetition_penalty=REPETITION_PENALTY,
            min_length=MIN_TOKENS,
            max_length=MAX_TOKENS,
        )[0].tolist()

    assert (len(ids) < MAX_TOKENS and ids[-1] == END) == (bias > 0)
    assert captioner.describe(image, seeded(seed)) == caption_text(ids, tokenizer)


def test_the_draw_depends_on_the_generator_and_leaves_the_global_one_alone(
    captioner: Captioner,
) -> None:
    image, before = load_picture("ip_a"), torch.get_rng_state()

    texts = [captioner.describe(image, seeded(seed)) for seed in (1, 1, 2)]

    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_caption_has_a_least_length(vocabulary: Path) -> None:
    unlike_words = dict.fromkeys(("[PAD]", "[UNK]", "[CLS]", "[MASK]", "##s"), -1000.0)
    eager = built(liking(small_tensors(), **unlike_words, **{"[SEP]": 1000.0}), vocabulary)

    text = eager.describe(load_picture("ip_a"), seeded(3))

    prompt = ("[DEC]", "a", "picture", "of")
    assert len(text.split(" ")) == MIN_TOKENS - len(prompt)


def test_the_picture_decides_the_words(captioner: Captioner) -> None:
    one, other = (captioner.describe(load_picture(n), seeded(1)) for n in ("ip_a", "photo_a"))
    assert one != other


def test_words_are_put_together_as_text_behind_the_prompt(vocabulary: Path) -> None:
    words = ["a", "picture", "of", "dog", "##s", ",", "cat", "'", "the", "red", ".", "[SEP]"]
    ids = [len(WORDS), *(WORDS.index(word) for word in words)]

    assert caption_text(ids, make_tokenizer(vocabulary)) == "dogs, cat'the red."


def test_weights_are_rounded_to_the_dtype_of_the_plan(vocabulary: Path) -> None:
    plan = replace(CPU_PLAN, small=torch.bfloat16)
    rounded = build_captioner(file_of(small_tensors()), make_tokenizer(vocabulary), plan)

    assert {t.dtype for t in rounded.network.state_dict().values()} == {torch.bfloat16}
    assert rounded.describe(load_picture("ip_a"), seeded(1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"visual_encoder.blocks.1.norm1.bias": None}, "Missing entries: vision_model.*norm1"),
        ({"text_decoder.odd": torch.ones(1)}, "Unexpected entries: text_decoder.odd"),
        ({"visual_encoder.norm.bias": torch.ones(2)}, r"shape \(2,\), needed is \(64,\)"),
        ({"visual_encoder.pos_embed": torch.ones(2)}, "cannot be loaded"),
        ({"visual_encoder.patch_embed.proj.weight": None}, "is missing"),
    ],
    ids=["missing", "unexpected", "shape", "dimensions", "no patches"],
)
def test_a_file_with_wrong_entries_is_an_error_naming_it(
    changes: dict[str, Tensor | None], message: str, vocabulary: Path
) -> None:
    wrong = {n: t for n, t in {**small_tensors(), **changes}.items() if t is not None}

    with pytest.raises(ModelFileError, match=rf"captioner\.pth.*{message}"):
        built(wrong, vocabulary)


def test_weights_that_are_no_numbers_are_noticed(vocabulary: Path) -> None:
    tensors = small_tensors()
    tensors["visual_encoder.cls_token"] = torch.full((1, 1, 64), float("nan"))

    with pytest.raises(ModelFileError, match=r"captioner\.pth.*not finite"):
        built(tensors, vocabulary).describe(load_picture("ip_a"), seeded(1))


def test_a_vocabulary_of_another_size_is_an_error(vocabulary: Path, tmp_path: Path) -> None:
    longer = tmp_path / "vocab.txt"
    longer.write_text(vocabulary.read_text(encoding="utf-8") + "one\n", encoding="utf-8")

    with pytest.raises(ModelFileError, match=rf"vocab\.txt has {len(WORDS) + 3} .*small\.pth"):
        load_captioner(write_weights(tmp_path / "small.pth"), longer, CPU_PLAN)


@pytest.mark.parametrize("text", ["a\nb\n", "", "\xff"], ids=["other words", "empty", "no text"])
def test_a_file_that_is_no_vocabulary_is_an_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text(text, encoding="latin-1")

    with pytest.raises(ModelFileError, match=r"vocab\.txt"):
        make_tokenizer(path)


def test_a_missing_or_damaged_file_is_an_error(vocabulary: Path, tmp_path: Path) -> None:
    damaged = write_weights(tmp_path / "damaged.pth")
    damaged.write_bytes(damaged.read_bytes()[:2000])

    for path in (damaged, tmp_path / "none.pth"):
        with pytest.raises(ModelFileError, match=path.name):
            load_captioner(path, vocabulary, CPU_PLAN)
    with pytest.raises(ModelFileError, match=r"none\.txt"):
        make_tokenizer(tmp_path / "none.txt")
