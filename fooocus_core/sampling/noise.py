"""The random numbers of one picture, all derived from its seed.

Private generators give the same numbers as seeding torch's global ones, which is what the
reference does. Knows nothing of schedules but the range of its Brownian motion.
"""

from __future__ import annotations

import torch
import torchsde
from torch import Tensor

from fooocus_core.sampling.schedules import SigmaRange


class SeededNoise:
    """Start noise, step noise and Brownian noise of one picture.

    The three streams belong together: the step noise of a run on the CPU goes on where the start
    noise ended. One object therefore lasts for the whole picture, over every model that works on
    it.

    Attributes:
        seed: Of the start and step noise.
    """

    def __init__(
        self,
        seed: int,
        shape: tuple[int, ...],
        *,
        device: torch.device,
        sigma_range: SigmaRange,
    ) -> None:
        """Prepare the streams; draws nothing yet.

        Args:
            seed: 0..2^63-1.
            shape: Of the latent, (1, 4, h, w).
            device: Where sampling happens. Step and Brownian noise are drawn there, so pictures of
                samplers that use them differ between CPU and GPU, as they do in the reference.
            sigma_range: Levels between which the Brownian motion runs.
        """
        self._shape = shape
        self._device = device
        self._host = torch.Generator()
        self._steps = self._host if device.type == "cpu" else torch.Generator(device)
        self._seed_streams(seed)
        # The tree rounds its ends to its tolerance, and warns about levels outside of those.
        self._low, self._high = (round(end, 6) for end in (sigma_range.low, sigma_range.high))
        self._motion = torchsde.BrownianTree(
            t0=sigma_range.low,
            w0=torch.zeros(shape, device=device),
            t1=sigma_range.high,
            entropy=seed,
        )

    def reseed(self) -> None:
        """Begin the start and step noise anew with the next seed; the Brownian motion goes on."""
        self._seed_streams(self.seed + 1)

    def start(self) -> Tensor:
        """Draw the start noise; float32 of the latent's shape, on the device.

        It comes from the CPU's generator on every device, so that the same seed starts the same
        picture everywhere.
        """
        return torch.randn(self._shape, generator=self._host).to(self._device)

    def step(self) -> Tensor:
        """Draw fresh standard normal noise for a step; float32 of the latent's shape."""
        return torch.randn(self._shape, generator=self._steps, device=self._device)

    def between(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """The Brownian increment of a step, scaled to unit variance.

        The same two levels always give the same noise. Levels outside the range are clamped to it,
        so a step wholly outside gets zeros.

        Args:
            sigma: Level the step starts at, ().
            sigma_next: Lower level the step ends at, ().

        Returns:
            float32 of the latent's shape. The sign is that of an increment walked downwards.

        Source:
            Brownian noise for SDE solvers: crowsonkb/k-diffusion, BrownianTreeNoiseSampler;
            the tree itself: torchsde, arXiv:2001.01328.
        """
        high, low = self._clamped(float(sigma)), self._clamped(float(sigma_next))
        increment: Tensor = self._motion(low, high)
        return -increment / (sigma - sigma_next).abs().sqrt()

    def _seed_streams(self, seed: int) -> None:
        self.seed = seed
        for stream in (self._host, self._steps):
            stream.manual_seed(seed)

    def _clamped(self, sigma: float) -> float:
        return min(max(sigma, self._low), self._high)
