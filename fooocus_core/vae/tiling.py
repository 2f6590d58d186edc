"""Running a network over a big picture tile by tile and feathering the tiles together.

Does not know what the network does, only by how much it scales.
Source: behaviour of lllyasviel/Fooocus 2.5.5 (its tiled VAE and upscaling).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TileFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """Width, height and overlap of tiles, in pixels of the input."""

    width: int
    height: int
    overlap: int


def run_tiled(x: Tensor, network: TileFunction, tiles: Tiles, *, scale: float) -> Tensor:
    """Apply ``network`` to overlapping tiles and average them where they meet.

    Args:
        x: (1, C, H, W).
        network: (1, C, h, w) -> (1, D, h * scale, w * scale); called in reading order.
        tiles: Tiles at the border are clipped and may be very small.
        scale: Output size by input size.

    Returns:
        (1, D, H * scale, W * scale) float32 on the CPU.
    """
    return torch.cat(list(finished_rows(x, network, tiles, scale=scale)), dim=2)


def finished_rows(
    x: Tensor, network: TileFunction, tiles: Tiles, *, scale: float
) -> Iterator[Tensor]:
    """Do as :func:`run_tiled`, but hand out rows of the result as soon as no tile changes them.

    Of the whole result, memory holds only one row of tiles.

    Yields:
        (1, D, h, W * scale) float32 on the CPU, from top to bottom; together all rows.
    """
    height = x.shape[-2]
    step = tiles.height - tiles.overlap
    sums: Tensor | None = None
    for top in range(0, height, step):
        sums = _add_row_of_tiles(sums, x[..., top : top + tiles.height, :], network, tiles, scale)
        final = round(min(top + step, height) * scale) - round(top * scale)
        yield sums[:, :-1, :final] / sums[:, -1:, :final]
        sums = sums[:, :, final:].clone()


def _add_row_of_tiles(
    begun: Tensor | None, x: Tensor, network: TileFunction, tiles: Tiles, scale: float
) -> Tensor:
    """Weighted results of tiles side by side, on top of sums begun by the row above.

    Args:
        begun: (1, D + 1, up to h * scale, W * scale) float32.
        x: (1, C, h, W), as high as the tiles.

    Returns:
        (1, D + 1, h * scale, W * scale) float32 on the CPU; the last channel adds up the weights.
    """
    height, width = x.shape[-2:]
    feather = round(tiles.overlap * scale)
    sums: Tensor | None = None
    for left in range(0, width, tiles.width - tiles.overlap):
        right = left + tiles.width
        result = network(x[..., left:right]).float().cpu()
        if sums is None:
            sums = torch.zeros(1, result.shape[1] + 1, round(height * scale), round(width * scale))
            if begun is not None:
                sums[:, :, : begun.shape[2]] = begun
        mask = feathering(*result.shape[-2:], feather=feather)
        columns = slice(round(left * scale), round(right * scale))
        sums[:, :-1, :, columns] += result * mask
        sums[:, -1:, :, columns] += mask
    assert sums is not None
    return sums


def mean_of_passes(
    x: Tensor, network: TileFunction, passes: Sequence[Tiles], *, scale: float
) -> Tensor:
    """Mean of :func:`run_tiled` over several tile shapes, which hides their seams.

    Args and result as there.
    """
    total = run_tiled(x, network, passes[0], scale=scale)
    for tiles in passes[1:]:
        total = total + run_tiled(x, network, tiles, scale=scale)
    return total / len(passes)


def decode_passes(size: int, overlap: int) -> list[Tiles]:
    """The three tile shapes of decoding, in latent pixels: tall, wide, square."""
    square, wide, tall = encode_passes(size, overlap)
    return [tall, wide, square]


def encode_passes(size: int, overlap: int) -> list[Tiles]:
    """The three tile shapes of encoding, in picture pixels: square, wide, tall."""
    return [
        Tiles(width=size, height=size, overlap=overlap),
        Tiles(width=size * 2, height=size // 2, overlap=overlap),
        Tiles(width=size // 2, height=size * 2, overlap=overlap),
    ]


def feathering(height: int, width: int, *, feather: int) -> Tensor:
    """Weights that rise linearly from every side over ``feather`` pixels, (1, 1, H, W) float32.

    All four sides are ramped, those at the picture's border too. On tiles smaller than ``feather``
    the index of the far side turns negative and counts from the other end; results depend on it.
    """
    mask = torch.ones(1, 1, height, width)
    for t in range(feather):
        weight = (t + 1) / feather
        mask[:, :, t : t + 1, :] *= weight
        mask[:, :, height - 1 - t : height - t, :] *= weight
        mask[:, :, :, t : t + 1] *= weight
        mask[:, :, :, width - 1 - t : width - t] *= weight
    return mask
