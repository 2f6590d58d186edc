"""Text conditioning against the recorded one, and the arithmetic of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fooocus_core.config import DeviceOptions
from fooocus_core.errors import InvalidInputError, RunCancelled
from fooocus_core.loading.checkpoint import Checkpoint
from fooocus_core.loading.memory import plan_device
from fooocus_core.text.encoder import TextEncoder, apply_weights
from fooocus_core.text.textual_inversion import TextualInversions
from fooocus_core.text.tokens import Tokenizer
from tests.golden import (
    NETWORK,
    assert_matches,
    case_id,
    load_arrays,
    load_cases,
    load_json,
)
from tests.networks import load_checkpoint


@pytest.fixture(scope="module")
def checkpoint(weights: Path) -> Checkpoint:
    plan = plan_device(None, DeviceOptions())
    return load_checkpoint(weights / "checkpoints" / "tiny_sdxl.safetensors", plan)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer()


def make_encoder(
    checkpoint: Checkpoint, tokenizer: Tokenizer, folder: Path, warnings: list[str]
) -> TextEncoder:
    assert checkpoint.clip_l is not None
    assert checkpoint.clip_g is not None
    return TextEncoder(
        checkpoint.clip_l,
        checkpoint.clip_g,
        tokenizer=tokenizer,
        inversions=TextualInversions([folder], warnings.append),
        check=lambda: None,
    )


@pytest.fixture(scope="module")
def encoder(checkpoint: Checkpoint, tokenizer: Tokenizer, weights: Path) -> TextEncoder:
    return make_encoder(checkpoint, tokenizer, weights / "embeddings", [])


@pytest.mark.parametrize("case", load_cases("components/clip"), ids=case_id)
def test_conditioning_equals_the_recorded_one(encoder: TextEncoder, case: dict[str, Any]) -> None:
    expected = load_arrays("components/clip")
    result = encoder.encode(
        case["texts"], pooled_texts=case["pool_top_k"], clip_skip=case["clip_skip"]
    )
    assert result.embeddings.dtype is result.pooled.dtype is torch.float32
    assert_matches(result.embeddings, expected[f"{case['key']}_cond"], NETWORK)
    assert_matches(result.pooled, expected[f"{case['key']}_pooled"], NETWORK)


def test_weights_move_states_as_in_the_check_values() -> None:
    check = load_json("check-values-text-to-image")["weighting"]
    rows = [0.5 + torch.sin(0.1 * (b + 1) * torch.arange(24.0)).reshape(6, 4) for b in range(3)]
    weights = torch.tensor([[1, 1.5, 0.5, 1, 1, 1], [1] * 6], dtype=torch.float32)

    result = apply_weights(torch.stack(rows[:2]), rows[2], weights).reshape(1, 12, 4)

    assert list(result.shape) == check["shape"]
    assert result.flatten()[:12].tolist() == pytest.approx(check["first12"], abs=1e-5)
    assert result[0, 6:8].flatten().tolist() == pytest.approx(check["rows6_7"], abs=1e-5)


def test_weights_do_not_touch_the_pooled_vector(encoder: TextEncoder) -> None:
    plain = encoder.encode(["a red cat"], pooled_texts=1, clip_skip=2)
    weighted = encoder.encode(["a (red:1.5) cat"], pooled_texts=1, clip_skip=2)
    assert torch.allclose(plain.pooled, weighted.pooled, atol=1e-5)
    assert not torch.allclose(plain.embeddings, weighted.embeddings, atol=1e-3)


def test_a_missing_embedding_is_left_out_with_a_warning(
    checkpoint: Checkpoint, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    warnings: list[str] = []
    encoder = make_encoder(checkpoint, tokenizer, tmp_path, warnings)
    with_word = encoder.encode(["a embedding:nothing cat"], pooled_texts=1, clip_skip=2)
    without = encoder.encode(["a cat"], pooled_texts=1, clip_skip=2)
    assert torch.equal(with_word.embeddings, without.embeddings)
    assert len(warnings) == 1


def test_rows_that_fit_one_encoder_only_keep_the_chunks_in_step(
    checkpoint: Checkpoint, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_file({"emb_params": torch.zeros(74, 128)}, tmp_path / "wide.safetensors")
    warnings: list[str] = []
    encoder = make_encoder(checkpoint, tokenizer, tmp_path, warnings)
    result = encoder.encode(["embedding:wide one two three"], pooled_texts=1, clip_skip=2)
    assert result.embeddings.shape == (1, 154, 320)
    assert "clip_g" in warnings[0]


def test_an_embedding_with_very_different_row_counts_is_refused(
    checkpoint: Checkpoint, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rows = {"clip_l": torch.zeros(80, 128), "clip_g": torch.zeros(2, 192)}
    save_file(rows, tmp_path / "odd.safetensors")
    encoder = make_encoder(checkpoint, tokenizer, tmp_path, [])
    with pytest.raises(InvalidInputError, match="more rows"):
        encoder.encode(["embedding:odd"], pooled_texts=1, clip_skip=2)


def test_a_stop_is_seen_between_the_batches_of_a_long_text(
    checkpoint: Checkpoint, tokenizer: Tokenizer
) -> None:
    assert checkpoint.clip_l is not None
    assert checkpoint.clip_g is not None
    checks = iter([None, None, RunCancelled()])

    def check() -> None:
        if error := next(checks):
            raise error

    encoder = TextEncoder(
        checkpoint.clip_l,
        checkpoint.clip_g,
        tokenizer=tokenizer,
        inversions=TextualInversions([], pytest.fail),
        check=check,
    )
    with pytest.raises(RunCancelled):
        encoder.encode(["cat, " * 2_000], pooled_texts=1, clip_skip=2)
    assert next(checks, "all made") == "all made"


def test_a_text_of_many_batches_has_the_states_of_its_chunks(encoder: TextEncoder) -> None:
    chunk, last = " ".join(["cat"] * 75), " ".join(["dog"] * 75)
    whole = encoder.encode([" ".join([chunk] * 40 + [last])], pooled_texts=1, clip_skip=2)
    parts = encoder.encode([chunk] * 40 + [last], pooled_texts=1, clip_skip=2)
    assert whole.embeddings.shape == (1, 77 * 41, parts.embeddings.shape[-1])
    assert torch.allclose(whole.embeddings, parts.embeddings, atol=1e-5)
    assert torch.allclose(whole.pooled, parts.pooled, atol=1e-5)
