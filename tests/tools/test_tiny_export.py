from __future__ import annotations

import json
import struct
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)

from tools.tiny_export import UNET_PREFIX, unet_keys, vae_keys
from tools.tiny_model import make_unet
from tools.tiny_vae import make_vae

MOST_BYTES = 31_000_000


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    with resources.as_file(resources.files("fooocus_core") / "data" / "tiny") as root:
        return root / "checkpoints" / "tiny.safetensors"


@pytest.fixture(scope="module")
def header(checkpoint: Path) -> dict[str, Any]:
    with checkpoint.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        found: dict[str, Any] = json.loads(file.read(length))
    return found


def test_shipped_checkpoint_is_small_enough(checkpoint: Path) -> None:
    assert checkpoint.stat().st_size <= MOST_BYTES


def test_shipped_checkpoint_states_its_normalisation(header: dict[str, Any]) -> None:
    assert header["__metadata__"]["vae.norm_num_groups"] == "1"


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", [64, 4, 3, 3]),
        ("model.diffusion_model.label_emb.0.0.weight", [256, 64 + 6 * 256]),
        ("model.diffusion_model.out.2.weight", [4, 64, 3, 3]),
        ("first_stage_model.post_quant_conv.weight", [4, 4, 1, 1]),
        (
            "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
            [49408, 64],
        ),
        ("conditioner.embedders.1.model.token_embedding.weight", [49408, 64]),
        ("conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight", [192, 64]),
        ("conditioner.embedders.1.model.text_projection", [64, 64]),
    ],
)
def test_shipped_checkpoint_has_the_published_keys(
    header: dict[str, Any], key: str, shape: list[int]
) -> None:
    assert header[key]["shape"] == shape
    assert header[key]["dtype"] == "F16"


def test_unet_keys_come_back_from_the_library() -> None:
    unet = make_unet()
    state = unet.state_dict()

    back = convert_ldm_unet_checkpoint(unet_keys(state), unet.config)

    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    assert all(key.startswith(UNET_PREFIX) for key in unet_keys(state))


def test_vae_keys_come_back_from_the_library() -> None:
    vae = make_vae()
    state = vae.state_dict()

    back = convert_ldm_vae_checkpoint(vae_keys(state), vae.config)

    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
