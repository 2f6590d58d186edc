"""Holding the known part of a picture while the rest of it is sampled.

Does not know the network; it wraps any denoiser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fooocus_core.choices import Sampler
from fooocus_core.sampling.noise_levels import NoiseModel
from fooocus_core.sampling.samplers.base import Denoiser

# One less than there are seeds, as in the reference.
_SEED_RANGE = 2**63 - 1
# These samplers go past the hold in the reference: there, only the inpaint model and the pasting
# back of the picture act.
_UNHELD = frozenset({Sampler.UNI_PC, Sampler.UNI_PC_BH2})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownPart:
    """What of a picture is to stay as it is.

    Attributes:
        latent: Of the whole picture, in the scale of the VAE of the model it is for,
            (1, 4, h, w) float32; what it shows inside the hole does not count.
        mask: (1, 1, h, w) float32, 1 = to be painted, 0 = known.
    """

    latent: Tensor
    mask: Tensor


def hold_known(
    denoiser: Denoiser,
    known: KnownPart | None,
    *,
    to_sampler: Callable[[Tensor], Tensor],
    sampler: Sampler,
    seed: int,
) -> Denoiser:
    """Have a denoiser leave the known part as it is, for one run of a sampler.

    Args:
        denoiser: The model; one that passes on to another during the run is held throughout.
        known: ``None`` holds nothing.
        to_sampler: From the VAE's scale to the sampler's.
        sampler: Not all of them can be held.
        seed: Of the run's start noise, 0..2^63-1.

    Returns:
        ``denoiser`` itself if there is nothing to hold.
    """
    if known is None or sampler in _UNHELD:
        return denoiser
    return _Holding(denoiser, to_sampler(known.latent), known.mask, seed)


class _Holding:
    """A denoiser to which the known part always looks as it should at this level.

    Per call: ``x' = x * M + (L + e) * (1 - M)``, ``out = model(x') * M + L * (1 - M)``, with mask
    M, latent L and fresh noise e of the level.

    Source:
        lllyasviel/Fooocus, modules/patch.py.
    """

    def __init__(self, denoiser: Denoiser, latent: Tensor, mask: Tensor, seed: int) -> None:
        self.noise_model: NoiseModel = denoiser.noise_model
        self._denoiser = denoiser
        self._latent = latent
        self._mask = mask
        self._random = torch.Generator().manual_seed((seed + 1) % _SEED_RANGE)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        # Carried to the device by the first call only.
        self._mask, self._latent = mask, latent = self._mask.to(x), self._latent.to(x)
        # Drawn on the CPU on every device, once per evaluation of the model.
        noise = torch.randn(x.shape, generator=self._random).to(x) * sigma
        held = x * mask + (latent + noise) * (1.0 - mask)
        return self._denoiser(held, sigma) * mask + latent * (1.0 - mask)
