"""Image prompts: pictures that a UNet attends to beside the text, and for how long.

Knows neither how a picture became keys and values nor what it shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.attention import Attend, ChunkedAttention, by_heads
from fooocus_core.unet.size_conditioning import PromptSide

_CROSS_ATTENTION = ".attn2.processor"
# Weights count in full for layers of this width, and for others in proportion.
_FULL_WIDTH = 1280


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeyValue:
    """Keys and values of tokens, of one shape and dtype."""

    key: Tensor
    value: Tensor

    def weighted(self, weight: float) -> KeyValue:
        """Scale the keys, and of the values their mean over the tokens.

        The factor is ``weight * C / 1280``, so layers half as wide get half of the weight.

        Args:
            weight: 1.0 is neutral in layers 1280 wide; 0.0 is not, as the tokens keep their share
                of the attention.

        Returns:
            ``key * factor`` and ``(value - mean) + mean * factor``; (B, tokens, C) as before.

        Source:
            lllyasviel/Fooocus, extras/ip_adapter.py; its author's notice is in README.md.
        """
        factor = weight * (self.key.shape[-1] / _FULL_WIDTH)
        mean = self.value.mean(dim=1, keepdim=True)
        return KeyValue(key=self.key * factor, value=(self.value - mean) + mean * factor)


Layers = tuple[KeyValue, ...]
"""Per cross-attention layer, in the order of a UNet's ``attn_processors``: (1, tokens, C)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadPicture:
    """A picture as an adapter has read it, good for any number of runs.

    Attributes:
        adapter: Name of the adapter's file.
        sides: What the rows of each prompt attend to; for the negative one no picture at all.
    """

    adapter: str
    sides: Mapping[PromptSide, Layers]

    @property
    def widths(self) -> list[int]:
        """C of each layer."""
        return [pair.key.shape[-1] for pair in self.sides[PromptSide.POSITIVE]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageGuide:
    """A picture that is attended to, and how much that counts.

    Attributes:
        weight: See :meth:`KeyValue.weighted`; with 0.0 the picture is left out.
        stop: Share of the run before which it acts; with 0.0 it never does.
    """

    picture: ReadPicture
    weight: float
    stop: float

    def is_active(self, progress: float) -> bool:
        """Whether it acts when a run has come as far as ``progress``."""
        return self.weight != 0.0 and progress < self.stop

    def rows(self, layer: int, sides: Sequence[PromptSide], like: Tensor) -> KeyValue:
        """What a batch attends to: (B, tokens, C), dtype and device of ``like``."""
        pairs = [self.picture.sides[side][layer] for side in sides]
        stacked = KeyValue(
            key=torch.cat([pair.key for pair in pairs]).to(like),
            value=torch.cat([pair.value for pair in pairs]).to(like),
        )
        return stacked.weighted(self.weight)


class ImagePrompts:
    """Pictures that a UNet attends to beside the text, as a change to attach to it.

    Has to be told before each call of the UNet what that is for; see :meth:`begin_call`.

    Attributes:
        guides: The pictures, in the order in which their tokens follow those of the text.
    """

    def __init__(self, guides: Sequence[ImageGuide]) -> None:
        """Start with nothing attended to."""
        self.guides = tuple(guides)
        self._acting: tuple[ImageGuide, ...] = ()
        self._sides: tuple[PromptSide, ...] = ()
        self._appended: dict[int, KeyValue] = {}

    def begin_call(self, sides: Sequence[PromptSide], progress: float) -> None:
        """Take in what the next call of the UNet is for.

        Args:
            sides: The prompt of each row of the batch.
            progress: How far the run is, 0.0 at the noisiest timestep, 1.0 at the last.
        """
        acting = tuple(guide for guide in self.guides if guide.is_active(progress))
        if (acting, tuple(sides)) != (self._acting, self._sides):
            self._acting, self._sides = acting, tuple(sides)
            self._appended.clear()

    @contextmanager
    def attached(self, unet: UNet2DConditionModel) -> Iterator[None]:
        """Append the pictures to what each cross-attention layer attends to.

        It stays one softmax over text and pictures, computed by what computes attention in ``unet``
        otherwise.

        Raises:
            ModelFileError: An adapter is for UNets with other cross-attention layers.
        """
        # The library lists its own processors as the type, but calls whatever it is given.
        former: dict[str, Any] = dict(unet.attn_processors)
        names = [name for name in former if name.endswith(_CROSS_ATTENTION)]
        layers: list[Any] = [unet.get_submodule(name.rpartition(".")[0]) for name in names]
        self._require_widths([layer.to_k.out_features for layer in layers])
        appending = {
            name: ChunkedAttention(partial(self._attend, layer, _attend_of(former[name])))
            for layer, name in enumerate(names)
        }
        unet.set_attn_processor(former | appending)
        try:
            yield
        finally:
            unet.set_attn_processor(former)
            self.begin_call((), 1.0)

    def _require_widths(self, widths: Sequence[int]) -> None:
        for guide in self.guides:
            own = guide.picture.widths
            if own != widths:
                raise ModelFileError(
                    f"{guide.picture.adapter} does not fit the base model: it is for "
                    f"{_described(own)}, but the model has {_described(widths)}."
                )

    def _attend(
        self, layer: int, attend: Attend, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        """As ``attend``, with the pictures' tokens behind those of the text."""
        if not self._acting:
            return attend(query, key, value)
        if layer not in self._appended:
            # Once for all steps with the same guides.
            self._appended[layer] = self._rows(layer, query)
        pictures = self._appended[layer]
        keys = torch.cat([key, pictures.key], dim=2)
        return attend(query, keys, torch.cat([value, pictures.value], dim=2))

    def _rows(self, layer: int, query: Tensor) -> KeyValue:
        """The tokens of all acting guides: (B, heads, tokens, d)."""
        each = [guide.rows(layer, self._sides, query) for guide in self._acting]
        keys = torch.cat([pair.key for pair in each], dim=1)
        values = torch.cat([pair.value for pair in each], dim=1)
        heads = query.shape[1]
        return KeyValue(key=by_heads(keys, heads), value=by_heads(values, heads))


def _attend_of(processor: object) -> Attend:
    """What computes the attention of a layer with this processor."""
    if isinstance(processor, ChunkedAttention):
        return processor.attend
    return scaled_dot_product_attention


def _described(widths: Sequence[int]) -> str:
    """The layers of these widths in words."""
    kinds = ", ".join(map(str, sorted(set(widths))))
    return f"{len(widths)} cross-attention layers of width {kinds}"
