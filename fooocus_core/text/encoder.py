"""Prompts become the text conditioning of an SDXL UNet, through both CLIP encoders.

Knows nothing of styles or of how texts were put together.
Source: behaviour of lllyasviel/Fooocus 2.5.5 (weights, clip skip, sums of pooled vectors).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from fooocus_core.errors import InvalidInputError
from fooocus_core.loading.memory import memory_errors
from fooocus_core.text.textual_inversion import TextualInversions
from fooocus_core.text.tokens import (
    CHUNK_LENGTH,
    END_ID,
    START_ID,
    Chunk,
    Token,
    Tokenizer,
)

CLIP_L_PAD_ID = END_ID
CLIP_G_PAD_ID = 0
_BATCH_ROWS = 32  # bounds memory and the time until a stop is seen


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConditioning:
    """What the UNet is told about the text; float32 on the CPU.

    Attributes:
        embeddings: (1, 77 n, width of CLIP-L + width of CLIP-G).
        pooled: (1, P), P the width of CLIP-G's projection.
    """

    embeddings: Tensor
    pooled: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoder:
    """One of the two text encoders, and how it is fed."""

    name: str
    model: CLIPTextModel
    pad_id: int

    @property
    def width(self) -> int:
        return int(self.model.config.hidden_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class _States:
    """Hidden states (B, 77, width) at the asked depth, and after the last layer and its norm."""

    hidden: Tensor
    last: Tensor


class TextEncoder:
    """Both text encoders of an SDXL checkpoint, with the results of the texts seen so far.

    Make a new one whenever the encoders' weights change, and for every job, so that new embedding
    files are seen.
    """

    def __init__(
        self,
        clip_l: CLIPTextModel,
        clip_g: CLIPTextModelWithProjection,
        *,
        tokenizer: Tokenizer,
        inversions: TextualInversions,
        check: Callable[[], None],
    ) -> None:
        """Start with no results.

        Args:
            clip_l, clip_g: The text encoders.
            tokenizer: Of both.
            inversions: Embedding files that texts may name.
            check: Called between texts and between batches of chunks; what it raises ends the
                encoding.
        """
        self._clip_l = _Encoder(name="clip_l", model=clip_l, pad_id=CLIP_L_PAD_ID)
        self._clip_g = _Encoder(name="clip_g", model=clip_g.text_model, pad_id=CLIP_G_PAD_ID)
        self._projection: nn.Module = clip_g.text_projection
        self._tokenizer = tokenizer
        self._inversions = inversions
        self._check = check
        self._results: dict[tuple[str, int], TextConditioning] = {}

    def encode(
        self, texts: Sequence[str], *, pooled_texts: int, clip_skip: int
    ) -> TextConditioning:
        """Encode several texts as one prompt.

        Args:
            texts: At least one; each with its own weights and chunks.
            pooled_texts: How many texts, from the first, contribute to the pooled vector (a sum).
            clip_skip: 1 = output of an encoder's last layer, 2 = of the one before, ...; without
                the final norm. Beyond an encoder's depth: its last layer with the final norm.

        Raises:
            InvalidInputError: An embedding has so different row counts for the two encoders that
                the texts need different numbers of chunks.
            ModelFileError: An embedding file named in a text cannot be read.
            DeviceMemoryError: The device ran out of memory.
        """
        with torch.no_grad(), memory_errors("encoding the prompt"):
            results = [self._encode_once(text, clip_skip) for text in texts]
        pooled = torch.zeros_like(results[0].pooled)
        for result in results[:pooled_texts]:
            pooled = pooled + result.pooled
        embeddings = torch.cat([result.embeddings for result in results], dim=1)
        return TextConditioning(embeddings=embeddings, pooled=pooled)

    def _encode_once(self, text: str, clip_skip: int) -> TextConditioning:
        key = (text, clip_skip)
        if key not in self._results:
            self._results[key] = self._encode_text(text, clip_skip)
        return self._results[key]

    def _encode_text(self, text: str, clip_skip: int) -> TextConditioning:
        self._check()
        chunks_l = self._chunks(text, self._clip_l)
        chunks_g = self._chunks(text, self._clip_g)
        if len(chunks_l) != len(chunks_g):
            raise InvalidInputError(
                "An embedding in the prompt has more rows for one text encoder than for the other, "
                "and the prompt's parts do not match; leave it out or move it to the end."
            )
        states_l = self._run(self._clip_l, chunks_l, clip_skip)
        states_g = self._run(self._clip_g, chunks_g, clip_skip)
        hidden = [_weighted(states_l.hidden, chunks_l), _weighted(states_g.hidden, chunks_g)]
        pooled = self._projection(states_g.last[:1, _pooled_place(chunks_g[0])])
        return TextConditioning(embeddings=torch.cat(hidden, dim=-1).cpu(), pooled=pooled.cpu())

    def _run(self, encoder: _Encoder, chunks: Sequence[Chunk], clip_skip: int) -> _States:
        """Run chunks, and an empty row behind them if any token is weighted."""
        rows = list(chunks)
        if _has_weights(chunks):
            padding = [Token(id=encoder.pad_id)] * (CHUNK_LENGTH - 2)
            rows.append([Token(id=START_ID), Token(id=END_ID), *padding])
        batches = []
        for first in range(0, len(rows), _BATCH_ROWS):
            self._check()
            embedded = _embed(encoder, rows[first : first + _BATCH_ROWS])
            batches.append(_forward(encoder.model, embedded, clip_skip))
        return _States(
            hidden=torch.cat([batch.hidden for batch in batches]),
            last=torch.cat([batch.last for batch in batches]),
        )

    def _chunks(self, text: str, encoder: _Encoder) -> list[Chunk]:
        chunks = self._tokenizer.chunks(
            text,
            pad_id=encoder.pad_id,
            vectors=lambda rest: self._inversions.split_off(
                rest, encoder=encoder.name, width=encoder.width
            ),
        )
        return [_without_misfits(chunk, encoder) for chunk in chunks]


def apply_weights(hidden: Tensor, empty: Tensor, weights: Tensor) -> Tensor:
    """Move hidden states away from, or towards, those of an empty text; keep each chunk's mean.

    Per chunk: ``z' = (z - empty) * weight + empty`` where the weight is not 1, then
    ``z' * (mean(z) / mean(z'))``, means over the whole chunk.

    Args:
        hidden: (B, T, width) float32.
        empty: (T, width), hidden states of the empty text.
        weights: (B, T); 1 leaves a token as it is.

    Returns:
        (B, T, width) float32.
    """
    chunks = []
    for chunk, weight in zip(hidden, weights[..., None], strict=True):
        moved = torch.where(weight == 1.0, chunk, (chunk - empty) * weight + empty)
        chunks.append(moved * (chunk.mean() / moved.mean()))
    return torch.stack(chunks)


def _weighted(hidden: Tensor, chunks: Sequence[Chunk]) -> Tensor:
    """Hidden states of the chunks alone, weighted, laid end to end: (1, 77 n, width)."""
    if _has_weights(chunks):
        weights = [[token.weight for token in chunk] for chunk in chunks]
        tensor = torch.tensor(weights, dtype=hidden.dtype, device=hidden.device)
        hidden = apply_weights(hidden[:-1], hidden[-1], tensor)
    return hidden.reshape(1, -1, hidden.shape[-1])


def _has_weights(chunks: Sequence[Chunk]) -> bool:
    return any(token.weight != 1.0 for chunk in chunks for token in chunk)


def _embed(encoder: _Encoder, rows: Sequence[Chunk]) -> Tensor:
    """Token and position embeddings, (B, 77, width) float32."""
    table = encoder.model.embeddings.token_embedding
    ids = [[max(token.id, 0) for token in row] for row in rows]
    embedded: Tensor = table(torch.tensor(ids, device=table.weight.device))
    for index, row in enumerate(rows):
        for place, token in enumerate(row):
            if token.vector is not None:
                embedded[index, place] = token.vector.to(embedded)
    positioned: Tensor = encoder.model.embeddings(inputs_embeds=embedded)
    return positioned


def _forward(model: CLIPTextModel, x: Tensor, clip_skip: int) -> _States:
    length = x.shape[1]
    mask = torch.full((1, 1, length, length), float("-inf"), device=x.device, dtype=x.dtype).triu(1)
    states = [x]
    for layer in model.encoder.layers:
        states.append(layer(states[-1], mask))
    last: Tensor = model.final_layer_norm(states[-1])
    layers = len(states) - 1
    return _States(hidden=states[-clip_skip] if clip_skip <= layers else last, last=last)


def _pooled_place(chunk: Chunk) -> int:
    ids = [token.id for token in chunk]
    return ids.index(max(ids))


def _without_misfits(chunk: Chunk, encoder: _Encoder) -> Chunk:
    """A chunk less the embedding rows of another width, refilled with padding at its end.

    They are taken out only now: the other encoder has the same words in the same chunks.
    """
    kept = [t for t in chunk if t.vector is None or len(t.vector) == encoder.width]
    return kept + [Token(id=encoder.pad_id)] * (CHUNK_LENGTH - len(kept))
