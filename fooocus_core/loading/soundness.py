"""Whether the weights of a loaded model are numbers to compute with.

Looked at only once a picture has failed: reading all weights takes too long to do it each time.
"""

from __future__ import annotations

import torch
from torch import nn

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.checkpoint import Checkpoint, Refiner


def check_finite(model: Checkpoint | Refiner, *, vae: str | None = None) -> None:
    """Look for weights that are infinite or not a number.

    Args:
        vae: File of a stand-alone VAE that takes the place of the checkpoint's own.

    Raises:
        ModelFileError: There are some; names the file and the networks that hold them.
    """
    networks: dict[str, nn.Module | None] = {
        "UNet": model.unet,
        f"VAE {vae}" if vae else "VAE": model.vae,
        "CLIP-L": model.clip_l,
        "CLIP-G": model.clip_g,
    }
    broken = [
        name
        for name, network in networks.items()
        if network is not None and not _is_finite(network)
    ]
    if broken:
        raise ModelFileError(
            f"{model.path.name}: {', '.join(broken)} has weights that are not finite, so there is "
            "no picture; the file is damaged, or a LoRA is too strong for it."
        )


def check_control_net(file: str, network: nn.Module) -> None:
    """Look for weights of a control net that are infinite or not a number.

    To be called once those of the model that it was made for were looked at.

    Raises:
        ModelFileError: There are some; names ``file``.
    """
    if not _is_finite(network):
        raise ModelFileError(
            f"{file} has weights that are not finite, so there is no picture; the file is damaged."
        )


def _is_finite(network: nn.Module) -> bool:
    return all(
        bool(torch.isfinite(weight).all())
        for weight in network.parameters()
        # A refiner's text encoders have no memory.
        if not weight.is_meta
    )
