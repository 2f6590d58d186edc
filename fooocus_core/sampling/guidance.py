"""Combining what the two prompts ask for. Knows nothing of the network behind them."""

from __future__ import annotations

from torch import Tensor


def adaptive_guidance(
    positive: Tensor, negative: Tensor, *, scale: float, adaptive_scale: float, progress: float
) -> Tensor:
    """Combine two noise predictions, easing a high scale in as the run advances.

    With ``G(s) = negative + s * (positive - negative)`` the result is ``G(scale)``, or, if
    ``scale`` is above ``adaptive_scale``,
    ``G(scale) * progress + G(adaptive_scale) * (1 - progress)``.

    Args:
        positive, negative: Noise predictions, (B, 4, h, w), same dtype.
        scale: Guidance scale; 1.0 returns ``positive``.
        adaptive_scale: Scale used at the start of the run. No effect unless ``scale`` is larger.
        progress: 0.0 at the first timestep, 1.0 at the last.

    Returns:
        Combined prediction, shape and dtype of ``positive``.

    Source:
        Guidance: arXiv:2207.12598, eq. 6. The easing is Fooocus's own (lllyasviel/Fooocus,
        modules/patch.py).
    """
    difference = positive - negative
    guided = negative + scale * difference
    if scale <= adaptive_scale:
        return guided
    return guided * progress + (negative + adaptive_scale * difference) * (1 - progress)
