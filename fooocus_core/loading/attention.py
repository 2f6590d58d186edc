"""Attention computed chunk by chunk: as without chunks but for rounding, in less memory.

Does not know where in a network an attention layer stands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from fooocus_core.config import AttentionKind
from fooocus_core.loading.memory import DevicePlan

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(query, key, value), each (B, heads, tokens, d) -> (B, heads, query tokens, d)."""

_SPLIT_SCORES = 2**25  # 128 MiB in float32
_QUERY_CHUNK = 1024
_KEY_CHUNK = 4096


def use_attention(
    network: UNet2DConditionModel | ControlNetModel | AutoencoderKL, plan: DevicePlan
) -> None:
    """Have all attention layers of a network compute as the plan says, for good."""
    match plan.attention:
        case AttentionKind.PYTORCH:
            return
        case AttentionKind.SPLIT:
            attend = partial(split_attention, upcasts=plan.upcasts_attention)
        case AttentionKind.QUAD:
            attend = partial(quad_attention, upcasts=plan.upcasts_attention)
    # The library lists its own processors as the type, but calls whatever it is given.
    processor: Any = ChunkedAttention(attend)
    network.set_attn_processor(processor)


class ChunkedAttention:
    """An attention processor of diffusers around a function of query, key and value."""

    def __init__(self, attend: Attend) -> None:
        self.attend = attend

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Run a whole attention layer.

        Args:
            attn: The layer.
            hidden_states: (B, tokens, C), or a picture (B, C, h, w) from a VAE.
            encoder_hidden_states: What is attended to, (B, tokens, D); ``None`` = itself.
            attention_mask: Not supported; these networks have none.
            temb: Not used by these networks.

        Returns:
            Shape and dtype of ``hidden_states``.
        """
        assert attention_mask is None
        shape = hidden_states.shape
        x = hidden_states.flatten(2).transpose(1, 2) if len(shape) == 4 else hidden_states
        if attn.group_norm is not None:
            x = attn.group_norm(x.transpose(1, 2)).transpose(1, 2)
        context = x if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            by_heads(projected, attn.heads)
            for projected in (attn.to_q(x), attn.to_k(context), attn.to_v(context))
        )
        attended = self.attend(query, key, value).transpose(1, 2).flatten(2)
        result: Tensor = attn.to_out[0](attended)
        if len(shape) == 4:
            result = result.transpose(1, 2).reshape(shape)
        if attn.residual_connection:
            result = result + hidden_states
        return result / attn.rescale_output_factor


def split_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    upcasts: bool,
    largest: int = _SPLIT_SCORES,
) -> Tensor:
    """Attention for as many queries at a time as make ``largest`` scores.

    Args:
        query, key, value: (B, heads, tokens, d), one dtype.
        upcasts: Whether scores and their softmax are computed in float32.
        largest: Most scores that exist at a time, unless those of one query are more.

    Returns:
        Shape and dtype of ``query``.
    """
    batch, heads, keys, _ = key.shape
    rows = max(largest // (batch * heads * keys), 1)
    turned = _scoring(key, upcasts=upcasts).transpose(-1, -2)
    chunks = []
    for chunk in torch.split(query, rows, dim=2):
        scores = _scaled(chunk, upcasts=upcasts) @ turned
        chunks.append(scores.softmax(dim=-1).to(value.dtype) @ value)
    return torch.cat(chunks, dim=2)


def quad_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    upcasts: bool,
    query_chunk: int = _QUERY_CHUNK,
    key_chunk: int = _KEY_CHUNK,
) -> Tensor:
    """Attention in chunks of queries and of keys, whose softmax is put together on the way.

    Args:
        query, key, value: (B, heads, tokens, d), one dtype.
        upcasts: Whether everything is computed in float32.
        query_chunk, key_chunk: Most queries and keys whose scores exist at a time.

    Returns:
        Shape and dtype of ``query``.

    Source:
        arXiv:2112.05682, sections 2 and 3.
    """
    chunks = [
        _attend_piecewise(_scaled(chunk, upcasts=upcasts), key, value, key_chunk)
        for chunk in torch.split(query, query_chunk, dim=2)
    ]
    return torch.cat(chunks, dim=2).to(query.dtype)


def _attend_piecewise(query: Tensor, key: Tensor, value: Tensor, key_chunk: int) -> Tensor:
    """Attention of scaled queries over chunks of keys, in the dtype of the queries."""
    highest = query.new_full((*query.shape[:3], 1), float("-inf"))
    weights = torch.zeros_like(highest)
    total = torch.zeros_like(query)
    pairs = zip(*(torch.split(x, key_chunk, dim=2) for x in (key, value)), strict=True)
    for keys, values in pairs:
        scores = query @ keys.to(query).transpose(-1, -2)
        # What is summed so far refers to the highest score so far, so that no exponent overflows.
        risen = torch.maximum(highest, scores.amax(dim=-1, keepdim=True))
        shrinking = (highest - risen).exp()
        exponents = (scores - risen).exp()
        weights = weights * shrinking + exponents.sum(dim=-1, keepdim=True)
        total = total * shrinking + exponents @ values.to(query)
        highest = risen
    return total / weights


def by_heads(x: Tensor, heads: int) -> Tensor:
    """(B, tokens, heads * d) -> (B, heads, tokens, d)."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def _scaled(query: Tensor, *, upcasts: bool) -> Tensor:
    # Before multiplying, so that scores of half formats do not overflow.
    factor: float = query.shape[-1] ** -0.5
    return _scoring(query, upcasts=upcasts) * factor


def _scoring(x: Tensor, *, upcasts: bool) -> Tensor:
    return x.float() if upcasts else x
