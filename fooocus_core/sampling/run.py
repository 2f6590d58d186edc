"""One descent from noise to a finished latent. Knows neither prompts nor pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from fooocus_core.choices import Sampler, Scheduler
from fooocus_core.loading.memory import memory_errors
from fooocus_core.sampling.inpaint_blend import KnownPart, hold_known
from fooocus_core.sampling.noise import SeededNoise
from fooocus_core.sampling.noise_levels import Levels
from fooocus_core.sampling.samplers import SAMPLERS
from fooocus_core.sampling.samplers.base import Denoiser, StepInfo
from fooocus_core.sampling.schedules import cut_sigmas, make_sigmas, noise_range
from fooocus_core.vae.codec import LATENT_SCALE, SD15_LATENT_SCALE

OnSampled = Callable[[int, int, Tensor], None]
"""(0-based step, number of steps, denoised latent in the sampler's scale); may raise to stop."""

_NEAR_MAXIMUM = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentFormat:
    """How latents of the VAE and latents of the sampler relate: ``(raw - mean) * scale / std``.

    Attributes:
        scale: Factor common to all channels.
        mean, std: One number per channel; the default leaves channels alone.
    """

    scale: float
    mean: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)

    def to_sampler(self, raw: Tensor) -> Tensor:
        """The sampler's latent of the VAE's; both (B, 4, h, w)."""
        mean, std = self._channels(raw)
        return (raw - mean) * self.scale / std

    def to_vae(self, latent: Tensor) -> Tensor:
        """The VAE's latent of the sampler's; both (B, 4, h, w)."""
        mean, std = self._channels(latent)
        return latent * std / self.scale + mean

    def _channels(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return like.new_tensor(self.mean).view(-1, 1, 1), like.new_tensor(self.std).view(-1, 1, 1)


# Source: playgroundai/playground-v2.5-1024px-aesthetic, VAE configuration.
_PLAYGROUND_FORMAT = LatentFormat(
    scale=0.5,
    mean=(-1.6574, 1.886, -1.383, 2.5155),
    std=(8.4927, 5.9022, 6.5498, 5.2299),
)


SD15_FORMAT = LatentFormat(scale=SD15_LATENT_SCALE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRun:
    """How a latent is sampled.

    Attributes:
        scheduler: As asked for; what it stands for is decided in ``schedules`` and
            ``noise_levels``.
        steps: At least 1.
        denoise: Share of the schedule that is walked: 1.0 starts from pure noise, less keeps
            something of the start latent.
    """

    sampler: Sampler
    scheduler: Scheduler
    steps: int
    denoise: float = 1.0


def latent_format(scheduler: Scheduler) -> LatentFormat:
    """The latent format of the SDXL models that a scheduler is for."""
    if scheduler is Scheduler.EDM_PLAYGROUND:
        return _PLAYGROUND_FORMAT
    return LatentFormat(scale=LATENT_SCALE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Turn:
    """A model laid out to work on one picture.

    Attributes:
        denoiser: The guided network, with the noise model of the run's scheduler.
        format: Of the latents it works on.
        on_step: Called once per step. What it raises ends the run and reaches the caller.
        attached: Puts on what changes the network while it works, and takes it off again.
        known: What of the picture stays as it is; ``None`` = all of it is painted.
    """

    denoiser: Denoiser
    format: LatentFormat
    on_step: OnSampled
    attached: Callable[[], AbstractContextManager[None]] = nullcontext
    known: KnownPart | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leg:
    """A stretch of a run that is walked in one go.

    Attributes:
        sampler: The algorithm.
        sigmas: Levels, descending, (n + 1,) float32; a single one means no step.
        first_step: 0-based number of its first step, within the whole run.
        steps: Steps of the whole run, as ``on_step`` is told.
    """

    sampler: Sampler
    sigmas: Tensor
    first_step: int
    steps: int


def seeded_noise(
    run: SamplingRun, seed: int, shape: tuple[int, ...], device: torch.device
) -> SeededNoise:
    """The random numbers of one picture that is sampled by ``run``; ``shape`` (1, 4, h, w)."""
    sigma_range = noise_range(run.scheduler, run.steps, sampler=run.sampler, denoise=run.denoise)
    return SeededNoise(seed, shape, device=device, sigma_range=sigma_range)


def sample(run: SamplingRun, turn: Turn, latent: Tensor, noise: SeededNoise) -> Tensor:
    """Sample a latent from its seed's noise.

    Args:
        run: Algorithm, schedule, number of steps.
        turn: The model.
        latent: What to start from, the VAE's scale, (1, 4, h, w) float32; zeros for a blank start.
        noise: From :func:`seeded_noise`, not used before.

    Returns:
        Finished latent, the VAE's scale, (1, 4, h, w) float32 on the CPU.

    Raises:
        DeviceMemoryError: The device ran out of memory.
    """
    whole = make_leg(run, turn.denoiser.noise_model.levels)
    return walk(whole, turn, latent, noise.start(), noise)


def make_leg(
    run: SamplingRun,
    levels: Levels,
    *,
    first_step: int = 0,
    last_step: int | None = None,
    to_zero: bool = False,
) -> Leg:
    """The stretch of a run's schedule between two steps.

    Args:
        run: Algorithm, schedule, number of steps.
        levels: Of the noise model in use.
        first_step: 0-based step that it begins with.
        last_step: Step before which it ends; ``None`` is the end of the run.
        to_zero: Whether a stretch that ends early removes the remaining noise in its last step.
    """
    sigmas = make_sigmas(run.scheduler, run.steps, levels, sampler=run.sampler, denoise=run.denoise)
    # Only DDIM_UNIFORM may have levels beyond the steps asked for; the reference leaves them out
    # here, yet not from the noise range.
    sigmas = cut_sigmas(sigmas, last_step=run.steps, to_zero=True)
    sigmas = cut_sigmas(sigmas, first_step=first_step, last_step=last_step, to_zero=to_zero)
    return Leg(sampler=run.sampler, sigmas=sigmas, first_step=first_step, steps=run.steps)


def walk(leg: Leg, turn: Turn, latent: Tensor, start: Tensor, noise: SeededNoise) -> Tensor:
    """Walk a latent down a stretch of a run.

    Args:
        leg: Levels and algorithm.
        turn: The model that does it.
        latent: What to start from, the VAE's scale, (1, 4, h, w) float32.
        start: Noise put onto it, standard normal or zeros, same shape, on the network's device.
        noise: Noise that the algorithm asks for.

    Returns:
        Latent at the last level, the VAE's scale, (1, 4, h, w) float32 on the CPU.

    Raises:
        DeviceMemoryError: The device ran out of memory.
    """

    def report(info: StepInfo) -> None:
        turn.on_step(leg.first_step + info.step, leg.steps, info.denoised)

    sigmas, levels = leg.sigmas, turn.denoiser.noise_model.levels
    with torch.no_grad(), memory_errors("sampling"), turn.attached():
        # A blank start is brought into the format like any other, means of channels included.
        x = noised(turn.format.to_sampler(latent.to(start)), start, sigmas[0], levels)
        if len(sigmas) > 1:
            denoiser = hold_known(
                turn.denoiser,
                turn.known,
                to_sampler=turn.format.to_sampler,
                sampler=leg.sampler,
                seed=noise.seed,
            )
            walker = SAMPLERS[leg.sampler]
            x = walker(denoiser, x, sigmas.to(x.device), noise=noise, on_step=report)
        return turn.format.to_vae(x.float().cpu())


def noised(latent: Tensor, noise: Tensor, sigma: Tensor, levels: Levels) -> Tensor:
    """Noise a latent to the first level of a run.

    Args:
        latent: The sampler's scale, (1, 4, h, w) float32.
        noise: Standard normal, same shape.
        sigma: The level, ().
        levels: At their maximum (or above) noise gets the variance ``1 + sigma^2``, so that the
            UNet's scaled input is pure unit noise; below it is ``sigma^2``.
    """
    level = float(sigma)
    is_highest = level > levels.sigma_max or math.isclose(
        level, levels.sigma_max, rel_tol=_NEAR_MAXIMUM
    )
    factor = (1 + sigma**2).sqrt() if is_highest else sigma
    return latent + noise * factor
