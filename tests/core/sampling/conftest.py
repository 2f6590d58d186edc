"""The small synthetic checkpoint and the recorded prompts, for tests that need a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fooocus_core.config import DeviceOptions
from fooocus_core.loading.checkpoint import Checkpoint
from fooocus_core.loading.memory import plan_device
from fooocus_core.text.encoder import TextConditioning, TextEncoder
from fooocus_core.text.textual_inversion import TextualInversions
from fooocus_core.text.tokens import Tokenizer
from tests.networks import load_checkpoint


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One torch thread, as in the recording.

    Two threads move latents by up to 4e-5 of their std, but attention over 231 tokens by 2e-4.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoint(weights: Path) -> Checkpoint:
    """The checkpoint ``tiny_sdxl`` in float32 on the CPU."""
    plan = plan_device(None, DeviceOptions())
    return load_checkpoint(weights / "checkpoints/tiny_sdxl.safetensors", plan)


@pytest.fixture(scope="session")
def text_encoder(checkpoint: Checkpoint) -> TextEncoder:
    """The text encoders of ``tiny_sdxl``."""
    inversions = TextualInversions([], warn=pytest.fail)
    assert checkpoint.clip_l is not None
    assert checkpoint.clip_g is not None
    return TextEncoder(
        checkpoint.clip_l,
        checkpoint.clip_g,
        tokenizer=Tokenizer(),
        inversions=inversions,
        check=lambda: None,
    )


@pytest.fixture(scope="session")
def positive(text_encoder: TextEncoder) -> TextConditioning:
    """The positive prompt of the recorded runs."""
    texts = ["a photo of a cat on the roof"]
    return text_encoder.encode(texts, pooled_texts=1, clip_skip=2)


@pytest.fixture(scope="session")
def negative(text_encoder: TextEncoder) -> TextConditioning:
    """The negative prompt of the recorded runs."""
    return text_encoder.encode([""], pooled_texts=1, clip_skip=2)
