"""The image encoder against the recorded states, and the files it is loaded from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fooocus_core.downloads import IMAGE_ENCODER
from fooocus_core.errors import ModelFileError
from fooocus_core.loading.memory import DevicePlan
from fooocus_core.loading.residents import Residents
from fooocus_core.loading.weight_file import Tensors, WeightFile, read_weights
from fooocus_core.vae.codec import to_pixels
from fooocus_core.vision.clip_vision import (
    ImageEncoder,
    build_image_encoder,
    load_image_encoder,
    normalised,
)
from tests.golden import NETWORK, assert_matches, load_arrays, load_picture
from tests.networks import CPU_PLAN, manifest_tensors

RECORDED = load_arrays("components/ipadapter")
PREPARED = load_arrays("image-ops/preprocess")
META = replace(CPU_PLAN, device=torch.device("meta"))
LAYER = "vision_model.encoder.layers."


@pytest.fixture(scope="module")
def path(weights: Path) -> Path:
    return weights / "clip_vision" / IMAGE_ENCODER.name


@pytest.fixture(scope="module")
def encoder(path: Path) -> ImageEncoder:
    return load_image_encoder(path, CPU_PLAN)


def file_of(tensors: Tensors) -> WeightFile:
    return WeightFile(path=Path("encoder.safetensors"), tensors=tensors, metadata={})


def open_clip_spelling(tensors: Tensors) -> dict[str, Tensor]:
    """The entries as OpenCLIP names and stores them, beside some of a text encoder."""
    heads = {
        "vision_model.embeddings.class_embedding": "class_embedding",
        "vision_model.embeddings.patch_embedding.weight": "conv1.weight",
        "vision_model.embeddings.position_embedding.weight": "positional_embedding",
    }
    inner = {
        LAYER: "transformer.resblocks.",
        "vision_model.pre_layrnorm": "ln_pre",
        "vision_model.post_layernorm": "ln_post",
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    spelt = {
        "ln_final.weight": torch.ones(3),
        "transformer.resblocks.0.ln_1.weight": torch.ones(3),
        "visual.proj": tensors["visual_projection.weight"].T.contiguous(),
    }
    for name, tensor in tensors.items():
        if name.endswith("position_ids") or name.startswith("visual_projection"):
            continue
        if ".self_attn.q_proj." in name:
            thirds = [tensors[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            layer, kind = name.removeprefix(LAYER).split(".self_attn.q_proj.")
            spelt[f"visual.transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(thirds)
        elif not name.rpartition(".")[0].endswith(("k_proj", "v_proj")):
            own = heads.get(name, name)
            for ours, theirs in inner.items():
                own = own.replace(ours, theirs)
            spelt[f"visual.{own}"] = tensor
    return spelt


@pytest.mark.parametrize("case", ["c0", "c1"])
def test_pictures_are_stretched_and_normalised_as_recorded(
    case: str, encoder: ImageEncoder
) -> None:
    square = encoder.fit(PREPARED[f"{case}_image"])

    assert np.array_equal(square, PREPARED[f"{case}_ip_resized"])
    pixels = normalised(to_pixels(square))[:, :, ::8, ::8]
    assert_matches(pixels, PREPARED[f"{case}_ip_pixel_values_sub"], 1e-6)


def test_a_picture_gives_the_recorded_state(encoder: ImageEncoder) -> None:
    picture = load_picture("ip_a")

    assert np.array_equal(encoder.fit(picture), RECORDED["img224"])
    assert_matches(encoder.encode(picture), RECORDED["vision_hidden_m2"], NETWORK)


def test_a_fitted_picture_is_encoded_as_the_picture_itself(encoder: ImageEncoder) -> None:
    picture = load_picture("ip_a")

    assert torch.equal(encoder.encode(encoder.fit(picture)), encoder.encode(picture))


def test_the_weights_behind_the_state_are_in_their_places_too(encoder: ImageEncoder) -> None:
    with torch.no_grad():
        whole = encoder.network(normalised(to_pixels(RECORDED["img224"])))

    assert_matches(whole.image_embeds, RECORDED["vision_embeds"], NETWORK)


def test_a_file_in_the_other_naming_is_the_same_encoder(path: Path, encoder: ImageEncoder) -> None:
    spelt = open_clip_spelling(read_weights(path).tensors)

    other = build_image_encoder(file_of(spelt), CPU_PLAN).network.state_dict()

    own = encoder.network.state_dict()
    assert other.keys() == own.keys()
    assert all(torch.equal(other[name], weight) for name, weight in own.items())


@pytest.mark.parametrize("layout", ["clip_vision_vit_h", "clip_vision_vit_h_hf_layout"])
def test_the_published_file_fits_in_both_layouts(layout: str) -> None:
    encoder = build_image_encoder(file_of(manifest_tensors(layout, "")), META)

    expected = manifest_tensors("clip_vision_vit_h_hf_layout", "")
    state = encoder.network.state_dict()
    assert {name: t.shape for name, t in state.items()} == {
        name: t.shape for name, t in expected.items()
    }
    config = encoder.network.config
    assert (config.num_attention_heads, config.image_size, config.patch_size) == (16, 224, 14)
    assert (config.hidden_act, config.layer_norm_eps) == ("gelu", 1e-5)


def test_weights_are_rounded_to_the_dtype_of_the_plan(path: Path) -> None:
    plan: DevicePlan = replace(CPU_PLAN, small=torch.bfloat16)

    encoder = load_image_encoder(path, plan)

    assert {t.dtype for t in encoder.network.state_dict().values()} == {torch.bfloat16}
    assert encoder.encode(load_picture("ip_a")).dtype == torch.bfloat16


def test_it_computes_where_its_weights_were_brought(path: Path) -> None:
    device = torch.device("cpu", 0)
    plan = replace(CPU_PLAN, device=device, stays=False)
    encoder = load_image_encoder(path, plan)
    carried: list[torch.device] = []

    def carry(tensor: Tensor, device: torch.device) -> Tensor:
        carried.append(device)
        return tensor.clone()

    residents = Residents(plan, carry)
    residents.bring(encoder.network, device=device)
    hidden = encoder.encode(load_picture("ip_a"))
    residents.clear()

    assert set(carried) == {device}
    assert_matches(hidden, RECORDED["vision_hidden_m2"], NETWORK)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{LAYER}3.mlp.fc1.bias": None}, "Missing entries: vision_model.encoder.layers.3.mlp"),
        ({"vision_model.odd": torch.ones(1)}, "Unexpected entries: vision_model.odd"),
        ({"visual_projection.weight": None}, "visual_projection.weight is missing"),
        ({"vision_model.post_layernorm.bias": torch.ones(2)}, r"shape \(2,\), needed is \(64,\)"),
        ({"vision_model.embeddings.patch_embedding.weight": torch.ones(2)}, "cannot be loaded"),
        ({"visual.transformer.resblocks.0.attn.in_proj_bias": torch.ones(0)}, "cannot be loaded"),
    ],
    ids=["missing", "unexpected", "no projection", "shape", "dimensions", "both namings"],
)
def test_a_file_with_wrong_entries_is_an_error_naming_it(
    changes: dict[str, Tensor | None], message: str, path: Path
) -> None:
    tensors = {**read_weights(path).tensors, **changes}
    wrong = {name: tensor for name, tensor in tensors.items() if tensor is not None}

    with pytest.raises(ModelFileError, match=rf"encoder\.safetensors.*{message}"):
        build_image_encoder(file_of(wrong), CPU_PLAN)


def test_a_width_that_no_heads_divide_is_an_error() -> None:
    shape = "vision_model.embeddings.patch_embedding.weight"
    tensors = {**manifest_tensors("clip_vision_vit_h_hf_layout", "")}
    tensors[shape] = torch.empty(1290, 3, 14, 14, device="meta")

    with pytest.raises(ModelFileError, match="1290 cannot be split into 16 heads"):
        build_image_encoder(file_of(tensors), META)


def test_a_file_that_is_no_encoder_is_an_error(weights: Path) -> None:
    with pytest.raises(ModelFileError, match="tiny_lora"):
        load_image_encoder(weights / "loras" / "tiny_lora.safetensors", CPU_PLAN)


def test_a_missing_or_damaged_file_is_an_error(path: Path, tmp_path: Path) -> None:
    broken = tmp_path / path.name
    broken.write_bytes(path.read_bytes()[:5000])

    for file in (broken, tmp_path / "other" / path.name):
        with pytest.raises(ModelFileError, match=path.name):
            load_image_encoder(file, CPU_PLAN)


def test_weights_that_are_no_numbers_are_noticed(path: Path) -> None:
    tensors = dict(read_weights(path).tensors)
    name = "vision_model.embeddings.class_embedding"
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    encoder = build_image_encoder(file_of(tensors), CPU_PLAN)

    with pytest.raises(ModelFileError, match=f"{IMAGE_ENCODER.name}.*not finite"):
        encoder.encode(load_picture("ip_a"))
