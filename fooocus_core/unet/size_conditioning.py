"""The sizes that an SDXL UNet is told about the picture, as its ``time_ids``.

The UNet itself turns each number into a sinusoid of width 256 (cosine half first) and appends them
to the pooled text vector. Knows nothing of that text.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_LAST_TIMESTEP = 999
_SIZE_STEP = 64
_REFINER_SCORES = {"positive": 6.0, "negative": 2.5}


class PromptSide(StrEnum):
    """Which of the two prompts a row of a batch belongs to."""

    POSITIVE = "positive"
    NEGATIVE = "negative"


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeConditioning:
    """Sizes for an SDXL base model: exaggerated while the picture is noisy, then consistent.

    Attributes:
        width, height: Of the picture in pixels (eight times the latent's).
        positive_scale, negative_scale: Factors on the size the picture claims to have had
            originally; 1.0 claims its own.
        end: Share of the timesteps, from the noisy end, during which the factors apply; after it
            the claimed size is the target size.

    Source:
        Size conditioning: SDXL, arXiv:2307.01952, section 2.2. Scales and end are Fooocus's own
        (lllyasviel/Fooocus, modules/patch.py).
    """

    width: int
    height: int
    positive_scale: float
    negative_scale: float
    end: float

    def time_ids(self, side: PromptSide, timestep: float) -> tuple[float, ...]:
        """Original height and width, top and left crop, target height and width."""
        target = _to_step(self.height), _to_step(self.width)
        original = self._scaled(side) if self._is_scaled(timestep) else target
        return (*original, 0, 0, *target)

    def _is_scaled(self, timestep: float) -> bool:
        return timestep > _LAST_TIMESTEP * (1 - self.end)

    def _scaled(self, side: PromptSide) -> tuple[int, int]:
        scale = self.positive_scale if side is PromptSide.POSITIVE else self.negative_scale
        return int(self.height * scale), int(self.width * scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinerSizeConditioning:
    """Size and aesthetic score for an SDXL refiner; the same at every timestep.

    Attributes:
        width, height: Of the picture in pixels (eight times the latent's).

    Source:
        Stability-AI/generative-models, SDXL refiner configuration.
    """

    width: int
    height: int

    def time_ids(self, side: PromptSide, timestep: float) -> tuple[float, ...]:  # noqa: ARG002
        """Height and width, top and left crop, aesthetic score."""
        return (self.height, self.width, 0, 0, _REFINER_SCORES[side])


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSizeConditioning:
    """For an SD 1.5 model, which is told nothing of the picture's size."""

    def time_ids(self, side: PromptSide, timestep: float) -> tuple[float, ...]:  # noqa: ARG002
        """No numbers."""
        return ()


def _to_step(size: int) -> int:
    # Python's rounding of halves to even is part of the behaviour: 96 -> 128, 1056 -> 1024.
    return round(size / _SIZE_STEP) * _SIZE_STEP
