from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
import torch

from fooocus_core.config import DeviceOptions
from fooocus_core.downloads import BERT_VOCABULARY, CAPTIONER
from fooocus_core.loading.memory import plan_device
from fooocus_core.vision.captions import MAX_TOKENS, load_captioner, make_tokenizer
from tools.captioner_model import (
    SHARPNESS,
    caption_loss,
    look_at,
    make_captioner,
    token_rows,
    vocabulary,
)
from tools.lesson_pictures import draw_lesson
from tools.train_tiny_captioner import Trainer

MANIFEST = Path(__file__).parents[1] / "golden" / "manifests" / "blip_base_caption.json"
PLAN = plan_device(None, DeviceOptions())


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path, seed=0, steps=4, rate=1e-3)


def learn(trainer: Trainer) -> float:
    rng = random.Random(trainer.descent.step)
    return trainer.learn([draw_lesson(rng) for _ in range(2)], rng)


def test_a_step_teaches_every_part(trainer: Trainer) -> None:
    before = [weight.detach().clone() for weight in trainer.network.parameters()]

    learn(trainer)

    pairs = zip(trainer.network.parameters(), before, strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    trainer: Trainer, tmp_path: Path
) -> None:
    learn(trainer)
    trainer.descent.save()
    whole = learn(trainer)

    stopped = Trainer(tmp_path, seed=0, steps=4, rate=1e-3)
    stopped.descent.load()

    assert learn(stopped) == whole


def test_the_prompt_and_what_fills_up_count_nothing(tmp_path: Path) -> None:
    words = vocabulary(["red", "circle"])
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = make_tokenizer(path)
    network = make_captioner(len(tokenizer), seed=0)
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))

    alone = token_rows(tokenizer, ["red circle"])
    beside = token_rows(tokenizer, ["red circle", "red circle red circle"])[:1]
    seen = look_at(network, pixels).seen
    weights = torch.ones(len(tokenizer))
    losses = [caption_loss(network, seen, rows, weights).item() for rows in (alone, beside)]

    assert alone.shape[1] < beside.shape[1]
    assert alone[0].tolist()[1:4] == tokenizer("a picture of", add_special_tokens=False).input_ids
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_files_have_the_published_layout_and_the_pipeline_reads_them(
    trainer: Trainer, tmp_path: Path
) -> None:
    trainer.write(tmp_path)
    weights = tmp_path / "clip_vision" / CAPTIONER.name

    words = tmp_path / "clip_vision" / BERT_VOCABULARY.name
    captioner = load_captioner(weights, words, PLAN)

    tensors = torch.load(weights, weights_only=True)["model"]
    published = json.loads(MANIFEST.read_text())
    assert layout(tensors) == layout(published)
    assert tensors["text_decoder.bert.embeddings.position_ids"].shape == (1, MAX_TOKENS)
    rows = token_rows(make_tokenizer(words), ["a red circle"])
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores, sharp = (
            network.text_decoder(rows, encoder_hidden_states=look_at(network, pixels).seen).logits
            for network in (trainer.network.eval(), captioner.network)
        )
    assert torch.allclose(sharp, SHARPNESS * scores, atol=0.05)


def layout(names: dict[str, object]) -> set[str]:
    """Names without the numbers of layers."""
    return {re.sub(r"\.\d+(?=\.)", ".N", name) for name in names}
