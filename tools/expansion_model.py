"""The small prompt expansion of the embedded model: a GPT-2, trained and written as published.

Knows neither drawings nor words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from fooocus_core.catalog import EXPANSION_CONFIG, EXPANSION_WEIGHTS
from fooocus_core.text.expansion import COMMA_ID, TOKENS_PER_BLOCK

WIDTH, HEADS, LAYERS = 64, 4, 2
POSITIONS = 2048
# Scores are a linear function of the last normalisation: chance is to take what fits, mostly.
SHARPNESS = 2.0
IGNORED = -100


def make_expansion(entries: int, *, seed: int) -> GPT2LMHeadModel:
    """Build an expansion with fresh weights, which says everything with equal chance.

    It knows only where in its block of 75 a token is, so that it goes on alike behind a prompt of
    any length.

    Args:
        entries: Of its vocabulary.
        seed: Of the weights.
    """
    config = _config(entries, positions=TOKENS_PER_BLOCK)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GPT2LMHeadModel(config)
    nn.init.zeros_(network.lm_head.weight)
    return network


def praise_loss(
    network: GPT2LMHeadModel, rows: Tensor, starts: Sequence[int], allowed: Tensor
) -> Tensor:
    """How badly the words after prompts are foretold, ().

    As in the pipeline only allowed words can be said, and none of them twice but the comma.

    Args:
        network: The expansion.
        rows: Prompts and what is said of them, whole blocks, (B, n).
        starts: Where the prompt of each row ends, its comma included.
        allowed: Numbers of the words that may be said, (m,), the comma the first of them.
    """
    places = torch.arange(rows.shape[1], device=rows.device)
    seen = network.transformer(rows, position_ids=places[None] % TOKENS_PER_BLOCK)
    scores = functional.linear(seen.last_hidden_state[:, :-1], network.lm_head.weight[allowed])
    matches = rows[:, :, None] == allowed
    said = matches[:, :-1].cumsum(1) > 0
    said[:, :, allowed == COMMA_ID] = False
    wanted = matches[:, 1:].float().argmax(2)
    ends = torch.tensor(starts, device=rows.device)[:, None]
    wanted = wanted.masked_fill(places[1:] < ends, IGNORED)
    scores = scores.masked_fill(said, float("-inf"))
    return functional.cross_entropy(scores.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)


@torch.no_grad()
def write_expansion(network: GPT2LMHeadModel, folder: Path) -> None:
    """Write weights, fp16 under the published names, and configuration."""
    tensors = {
        name: tensor.detach().cpu().half().clone() for name, tensor in network.state_dict().items()
    }
    places = tensors["transformer.wpe.weight"]
    times = -(-POSITIONS // TOKENS_PER_BLOCK)
    tensors["transformer.wpe.weight"] = places.repeat(times, 1)[:POSITIONS].clone()
    tensors["lm_head.weight"] *= SHARPNESS
    part = folder / f"{EXPANSION_WEIGHTS}.part"
    torch.save(tensors, part)
    part.replace(folder / EXPANSION_WEIGHTS)
    config = _config(network.config.vocab_size, positions=POSITIONS).to_diff_dict()
    del config["transformers_version"]
    text = json.dumps({"architectures": ["GPT2LMHeadModel"], **config}, indent=2, sort_keys=True)
    (folder / EXPANSION_CONFIG).write_text(f"{text}\n", encoding="utf-8")


def _config(entries: int, *, positions: int) -> GPT2Config:
    return GPT2Config(
        vocab_size=entries,
        n_positions=positions,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=entries - 1,
        eos_token_id=entries - 1,
        tie_word_embeddings=False,
    )
