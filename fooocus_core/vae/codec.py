"""Latent to picture and picture to latent with the KL autoencoder.

Latents are the VAE's own ("raw"): the sampler's are these times :data:`LATENT_SCALE`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from fooocus_core.errors import NotFiniteError
from fooocus_core.loading.leases import Lease
from fooocus_core.loading.memory import free_cached_memory, memory_errors
from fooocus_core.vae.tiling import TileFunction, decode_passes, encode_passes, mean_of_passes

logger = logging.getLogger(__name__)

LATENT_SCALE = 0.13025  # SDXL
SD15_LATENT_SCALE = 0.18215
PIXELS_PER_LATENT = 8

Check = Callable[[], None]

_DECODE_PASSES = tuple(decode_passes(64, 16))
_ENCODE_PASSES = tuple(encode_passes(512, 64))


def decode(
    vae: AutoencoderKL,
    latent: Tensor,
    *,
    warn: Callable[[str], None],
    check: Check = lambda: None,
    tiled: bool = False,
) -> NDArray[np.uint8]:
    """Decode a raw latent to a picture.

    Order: decode in the VAE's dtype, to float32, ``(v + 1) / 2``, clamp to 0-1, times 255,
    *truncate*. Falls back to tiles if the device runs out of memory, and to float32 if the
    decoded values are too large for the VAE's dtype.

    Args:
        latent: (1, 4, h, w), already divided by the latent scale.
        warn: Told, in a sentence, if the picture had to be decoded in float32.
        check: Called before the picture and before each tile; may raise in order to stop.
        tiled: Decode in tiles from the start.

    Returns:
        uint8 (8 h, 8 w, 3) RGB.

    Raises:
        NotFiniteError: The latent, or the decoded picture even in float32, has values that are not
            finite.
        DeviceMemoryError: Not even a tile fits into the device's memory.
    """
    if not torch.isfinite(latent).all():
        raise NotFiniteError(
            "Sampling gave values that are not finite, so there is no picture; use less extreme "
            "settings, such as weights in the prompt, FreeU, guidance scale or LoRA weights."
        )
    with torch.no_grad():
        values = _decode_plus_one(vae, latent, check, tiled=tiled)
        if not torch.isfinite(values).all() and vae.dtype is not torch.float32:
            warn("The picture was too much for the VAE's precision; it was decoded in float32.")
            with _in_float32(vae):
                values = _decode_plus_one(vae, latent, check, tiled=tiled)
    if not torch.isfinite(values).all():
        raise NotFiniteError("The VAE gave values that are not finite, so there is no picture.")
    return to_image((values / 2).clamp(0.0, 1.0))


def encode(
    vae: AutoencoderKL,
    pixels: Tensor,
    *,
    generator: torch.Generator,
    warn: Callable[[str], None],
    check: Check = lambda: None,
    crop: bool = True,
    tiled: bool = False,
) -> Tensor:
    """Encode a picture to a raw latent, drawn from the VAE's posterior.

    Falls back to tiles if the device runs out of memory, and to float32, with the same noise, if
    the values are too large for the VAE's dtype.

    Args:
        pixels: (1, 3, H, W) float32, 0-1, as :func:`to_pixels` makes it.
        generator: CPU generator of the posterior noise; one draw per latent, one per tile if tiled.
        warn: Told, in a sentence, if the picture had to be encoded in float32.
        check: Called before the picture and before each tile; may raise in order to stop.
        crop: Centre-crop sides that are no multiple of 8 first.
        tiled: Encode in tiles from the start, as upscaling does.

    Returns:
        (1, 4, H // 8, W // 8) float32 on the CPU.

    Raises:
        NotFiniteError: Even in float32 the latent has values that are not finite.
        DeviceMemoryError: Not even a tile fits into the device's memory.
    """
    # Group norm on the CPU is inexact on permuted memory, so the picture is made contiguous.
    pixels = (_cropped(pixels) if crop else pixels).contiguous()
    before = generator.get_state()

    def encode_tile(tile: Tensor) -> Tensor:
        check()
        return _encode(vae, tile, generator)

    with torch.no_grad():
        latent = _encode_picture(pixels, encode_tile, tiled=tiled)
        if not torch.isfinite(latent).all() and vae.dtype is not torch.float32:
            warn(
                "The given picture was too much for the VAE's precision; it was encoded in float32."
            )
            generator.set_state(before)
            with _in_float32(vae):
                latent = _encode_picture(pixels, encode_tile, tiled=tiled)
    if not torch.isfinite(latent).all():
        raise NotFiniteError("The VAE gave values that are not finite for the given picture.")
    return latent


def to_pixels(image: NDArray[np.uint8]) -> Tensor:
    """uint8 (H, W, 3) -> float32 (1, 3, H, W), 0-1, contiguous."""
    values = torch.from_numpy(image.astype(np.float32) / 255.0)
    return values.permute(2, 0, 1).unsqueeze(0).contiguous()


def to_image(values: Tensor) -> NDArray[np.uint8]:
    """float32 (1, 3, H, W), 0-1 -> uint8 (H, W, 3), truncated, not rounded."""
    array = values[0].permute(1, 2, 0).numpy()
    return np.clip(255.0 * array, 0, 255).astype(np.uint8)


def draw_posterior(mean: Tensor, log_variance: Tensor, generator: torch.Generator) -> Tensor:
    """``mean + exp(log_variance / 2) * noise`` with normal noise from a CPU generator.

    Args:
        mean, log_variance: (1, 4, h, w); the latter is clamped to -30..20.
    """
    noise = torch.randn(mean.shape, generator=generator).to(mean)
    return mean + torch.exp(0.5 * log_variance.clamp(-30.0, 20.0)) * noise


def _decode_plus_one(vae: AutoencoderKL, latent: Tensor, check: Check, *, tiled: bool) -> Tensor:
    def decode_tile(tile: Tensor) -> Tensor:
        check()
        return _decode(vae, tile)

    values = None if tiled else _none_if_too_big(lambda: decode_tile(latent))
    if values is None:
        with memory_errors("decoding the picture in tiles"):
            values = mean_of_passes(latent, decode_tile, _DECODE_PASSES, scale=PIXELS_PER_LATENT)
    return values


def _encode_picture(pixels: Tensor, encode_tile: TileFunction, *, tiled: bool) -> Tensor:
    latent = None if tiled else _none_if_too_big(lambda: encode_tile(pixels))
    if latent is None:
        with memory_errors("encoding the picture in tiles"):
            latent = mean_of_passes(
                pixels, encode_tile, _ENCODE_PASSES, scale=1 / PIXELS_PER_LATENT
            )
    return latent


@contextmanager
def _in_float32(vae: AutoencoderKL) -> Iterator[None]:
    """Have a VAE in float32, which holds what any smaller type does."""
    lease = Lease(vae, lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
    try:
        with memory_errors("bringing the VAE to float32"):
            lease.begin()
        yield
    finally:
        lease.end()


def _decode(vae: AutoencoderKL, latent: Tensor) -> Tensor:
    """Decoded values plus one, about 0 to 2."""
    decoded: Tensor = vae.decode(latent.contiguous().to(vae.device, vae.dtype)).sample
    return decoded.float().cpu() + 1.0


def _encode(vae: AutoencoderKL, pixels: Tensor, generator: torch.Generator) -> Tensor:
    values = (2.0 * pixels - 1.0).contiguous().to(vae.device, vae.dtype)
    posterior = vae.encode(values).latent_dist
    latent = draw_posterior(posterior.mean, posterior.logvar, generator)
    return latent.float().cpu()


def _cropped(pixels: Tensor) -> Tensor:
    height, width = pixels.shape[-2:]
    top = height % PIXELS_PER_LATENT // 2
    left = width % PIXELS_PER_LATENT // 2
    bottom = top + height - height % PIXELS_PER_LATENT
    right = left + width - width % PIXELS_PER_LATENT
    return pixels[..., top:bottom, left:right]


def _none_if_too_big(run: Callable[[], Tensor]) -> Tensor | None:
    try:
        return run()
    except torch.OutOfMemoryError:
        logger.info("The device has not enough memory for the whole picture; using tiles.")
    # Outside of the handler, which keeps the failed run's tensors alive.
    free_cached_memory()
    return None
