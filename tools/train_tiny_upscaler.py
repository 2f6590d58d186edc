"""Trains the small super-resolution network that goes with the embedded model.

The file has the layout of the published one (ESRGAN, old names), with fewer and narrower blocks.
The network starts as plain smooth enlargement: three channels carry the colours through, and
training only adds what sharp edges need. A pair is a drawing and the same drawing with every 4 x 4
pixels averaged. Every step is a function of the seed and its number, so a run that was stopped goes
on from its last state file as if it had not been.

    python -m tools.train_tiny_upscaler --folder DIR [--steps 3000] [--output FILE.bin]
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fooocus_core.main_memory import keeping_freed_memory
from fooocus_core.vision.upscaler import EsrganNetwork
from tools.tiny_vae import draw_crops, picture_loss, psnr

logger = logging.getLogger(__name__)

FACTOR = 4
WIDTH, GROWTH, BLOCKS = 16, 8, 2
CROP = 144
BATCH = 8
NOISE = 0.015  # of the 0 to 1 range, at most: pictures to enlarge are decoded, not drawn
WARM_UP = 50
HELD_OUT_SEED = 1_000_003
PICTURES_HELD_OUT, HELD_OUT_SIDE = 48, 224


def make_network() -> EsrganNetwork:
    """Build the network so that it enlarges smoothly before any training."""
    network = EsrganNetwork(filters=WIDTH, growth=GROWTH, blocks=BLOCKS, doublings=2)
    smooth = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    centre = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])
    layers: Any = network.model
    with torch.no_grad():
        last = layers[1].sub[-1]
        last.weight.mul_(0.1)
        last.bias.zero_()
        for index, kernel in {0: centre, 3: smooth, 6: smooth, 8: centre, 10: centre}.items():
            layers[index].weight[:3].mul_(0.1)
            layers[index].bias[:3].zero_()
            for colour in range(3):
                layers[index].weight[colour, colour] = kernel
    return network


def reduce(pictures: Tensor) -> Tensor:
    """Average every 4 x 4 pixels and round to 8 bits: (B, 3, H, W), 0 to 1 -> (B, 3, H/4, W/4)."""
    return (functional.avg_pool2d(pictures, FACTOR) * 255).round() / 255


def recolour(pictures: Tensor, rng: random.Random) -> Tensor:
    """Exchange the colours of pictures and stretch their contrast: (B, 3, H, W), 0 to 1.

    Drawings have no fully saturated colours, but pictures to enlarge may.
    """
    changed = []
    for picture in pictures:
        order = rng.sample(range(3), 3)
        gain = torch.tensor([rng.uniform(0.8, 1.6) for _ in order]).view(3, 1, 1)
        changed.append(((picture[order] - 0.5) * gain + 0.5).clamp(0, 1))
    return torch.stack(changed)


class Trainer:
    """The network and the optimiser of one training run."""

    def __init__(self, folder: Path, *, seed: int, steps: int, rate: float) -> None:
        torch.manual_seed(seed)
        self.folder, self.seed, self.steps, self.rate = folder, seed, steps, rate
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network = make_network().to(self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), rate, betas=(0.9, 0.99))
        self.step = 0

    def save(self) -> None:
        """Write the state file; a run that is cut off here keeps the older one."""
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        part = self.folder / "upscaler.pt.part"
        torch.save(state, part)
        part.replace(self.folder / "upscaler.pt")

    def load(self) -> None:
        """Go on from the state file if there is one."""
        path = self.folder / "upscaler.pt"
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, map_location=self.device)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def train_step(self) -> float:
        """Run one step on freshly drawn pictures; returns its loss."""
        rng = random.Random(f"{self.seed} {self.step}")
        generator = torch.Generator().manual_seed(rng.getrandbits(48))
        wanted = recolour((draw_crops(rng, BATCH, CROP) + 1) / 2, rng)
        small = reduce(wanted)
        strength = NOISE * torch.rand(len(small), 1, 1, 1, generator=generator).square()
        small += strength * torch.randn(small.shape, generator=generator)
        enlarged = self.network(small.to(self.device))
        loss = picture_loss(enlarged, wanted.to(self.device))
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        nn.utils.clip_grad_norm_(self.network.parameters(), 0.5)
        self.optimizer.step()
        self.step += 1
        return float(loss.detach())

    def _rate(self) -> float:
        left = max(0.0, 1 - self.step / self.steps)
        return self.rate * min(1.0, (self.step + 1) / WARM_UP) * math.pow(left, 0.8) + 1e-5


@torch.no_grad()
def compare(network: nn.Module, pictures: Tensor) -> tuple[float, float]:
    """Enlarge reduced pictures back; returns the PSNR in dB of bicubic and of the network.

    Args:
        network: The network, on the device of the pictures.
        pictures: (B, 3, H, W), 0 to 1, sides multiples of 4. Both results are rounded to 8 bits,
            and the error is the mean over all pixels of all pictures.
    """
    small = reduce(pictures)
    plain = functional.interpolate(small, scale_factor=FACTOR, mode="bicubic")
    seen = [(x.clamp(0, 1) * 255).round() / 255 for x in (plain, network(small))]
    bicubic, ours = (psnr(2 * x, 2 * pictures) for x in seen)
    return bicubic, ours


def held_out(count: int = PICTURES_HELD_OUT) -> Tensor:
    """Draw crops that training does not see: (B, 3, side, side), 0 to 1."""
    return (draw_crops(random.Random(HELD_OUT_SEED), count, HELD_OUT_SIDE) + 1) / 2


def write_file(network: nn.Module, output: Path) -> None:
    """Write the network in the published layout, fp16."""
    tensors = {
        name.replace("RDB", "residual_block_"): tensor.cpu().half().contiguous()
        for name, tensor in network.state_dict().items()
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_suffix(".part")
    torch.save(tensors, part)
    part.replace(output)


def run(trainer: Trainer, *, minutes_per_save: float) -> None:
    """Train to the end, saving on the way and at the end."""
    losses: list[float] = []
    saved = time.monotonic()
    while trainer.step < trainer.steps:
        losses.append(trainer.train_step())
        if trainer.step % 50 == 0:
            logger.info("step %d loss %.4f", trainer.step, sum(losses[-50:]) / 50)
        if time.monotonic() - saved > 60 * minutes_per_save:
            trainer.save()
            saved = time.monotonic()
    trainer.save()


def main() -> None:
    """Read the arguments, train, write the file and compare with bicubic enlargement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for the state file")
    parser.add_argument("--output", type=Path, help="where the network is written")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes-per-save", type=float, default=2.0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        arguments.folder, seed=arguments.seed, steps=arguments.steps, rate=arguments.rate
    )
    trainer.load()
    with keeping_freed_memory():
        run(trainer, minutes_per_save=arguments.minutes_per_save)
    if arguments.output:
        write_file(trainer.network, arguments.output)
    bicubic, ours = compare(trainer.network, held_out().to(trainer.device))
    logger.info("held-out drawings: bicubic %.2f dB, network %.2f dB", bicubic, ours)


if __name__ == "__main__":
    main()
