"""The network that sums up an image encoder's hidden state in a few tokens.

Knows neither the encoder nor what the tokens are for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fooocus_core.loading.architecture import HEAD_WIDTH
from fooocus_core.loading.attention import by_heads
from fooocus_core.loading.weight_file import Tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class ResamplerSizes:
    """Widths and counts of a resampler.

    Attributes:
        features: Width of the hidden state that it reads.
        width: Of its own layers.
        queries: How many tokens it gives.
        output: Width of these.
        depth: Number of its layers.
        heads, head_width: Of the attention in each.
        hidden: Width inside the feed-forward part of each.
    """

    features: int
    width: int
    queries: int
    output: int
    depth: int
    heads: int
    head_width: int
    hidden: int


class Resampler(nn.Module):
    """Learned queries that look at the places of a picture, layer after layer.

    Its parts are named as in the published files.

    Source:
        tencent-ailab/IP-Adapter (Apache-2.0), the "plus" models of arXiv:2308.06721; attention as
        in Flamingo, arXiv:2204.14198, section 3.1.
    """

    def __init__(self, sizes: ResamplerSizes) -> None:
        super().__init__()
        width = sizes.width
        self.latents = nn.Parameter(torch.zeros(1, sizes.queries, width))
        self.proj_in = nn.Linear(sizes.features, width)
        self.proj_out = nn.Linear(width, sizes.output)
        self.norm_out = nn.LayerNorm(sizes.output)
        self.layers = nn.ModuleList(
            nn.ModuleList([_Attention(sizes), _feed_forward(width, sizes.hidden)])
            for _ in range(sizes.depth)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Sum up a hidden state, (B, places, features) -> tokens, (B, queries, output)."""
        features = self.proj_in(hidden)
        latents = self.latents.expand(len(hidden), -1, -1)
        for layer in self.layers:
            # The library does not tell that lists of modules have parts.
            attention, feed_forward = layer.children()
            latents = attention(features, latents) + latents
            latents = feed_forward(latents) + latents
        tokens: Tensor = self.norm_out(self.proj_out(latents))
        return tokens


class _Attention(nn.Module):
    """Queries attend to the places and to themselves."""

    def __init__(self, sizes: ResamplerSizes) -> None:
        super().__init__()
        inner = sizes.heads * sizes.head_width
        self._heads = sizes.heads
        self._scale = sizes.head_width**-0.25
        self.norm1 = nn.LayerNorm(sizes.width)
        self.norm2 = nn.LayerNorm(sizes.width)
        self.to_q = nn.Linear(sizes.width, inner, bias=False)
        self.to_kv = nn.Linear(sizes.width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, sizes.width, bias=False)

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        places, queries = self.norm1(features), self.norm2(latents)
        keys, values = self.to_kv(torch.cat([places, queries], dim=1)).chunk(2, dim=-1)
        query, key, value = (
            by_heads(projected, self._heads) for projected in (self.to_q(queries), keys, values)
        )
        # Both before multiplying, so that scores in float16 do not overflow.
        scores = (query * self._scale) @ (key * self._scale).transpose(-1, -2)
        shares = scores.float().softmax(dim=-1).to(scores.dtype)
        attended = (shares @ value).transpose(1, 2).flatten(2)
        result: Tensor = self.to_out(attended)
        return result


def resampler_sizes(tensors: Tensors) -> ResamplerSizes:
    """Read the sizes of a resampler from its tensors; its heads are 64 wide.

    Raises:
        KeyError: An entry needed to tell a size is missing.
        ValueError: An entry has another number of dimensions.
    """
    _, queries, width = tensors["latents"].shape
    _, features = tensors["proj_in.weight"].shape
    layers = {name.split(".")[1] for name in tensors if name.startswith("layers.")}
    return ResamplerSizes(
        features=features,
        width=width,
        queries=queries,
        output=len(tensors["proj_out.weight"]),
        depth=len(layers),
        heads=max(len(tensors["layers.0.0.to_q.weight"]) // HEAD_WIDTH, 1),
        head_width=HEAD_WIDTH,
        hidden=len(tensors["layers.0.1.1.weight"]),
    )


def _feed_forward(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, hidden, bias=False),
        nn.GELU(),
        nn.Linear(hidden, width, bias=False),
    )
