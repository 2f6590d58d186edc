from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from fooocus_core.loading.key_maps import unet_weights
from fooocus_core.loading.lora_names import clip_g_names, clip_l_names, unet_layers, unet_names
from tests.golden import load_json
from tests.networks import manifest_tensors, manifest_unet

UNET_PREFIX = "model.diffusion_model."


def test_sdxl_unet_is_found_under_exactly_the_recorded_names() -> None:
    recorded = load_json("manifests/lora_keymap_sdxl_unet")
    unet = manifest_unet("sdxl_base")

    names = unet_names(unet)

    kohya = {name: p for name, p in names.items() if not name.startswith("diffusion_model.")}
    parameters = {original: f"{layer}.weight" for original, layer in unet_layers(unet)}
    assert kohya == {
        name: parameters[key.removeprefix("diffusion_model.").removesuffix(".weight")]
        for name, key in recorded.items()
    }


@pytest.mark.parametrize("model", ["sdxl_base", "sdxl_refiner", "sd15"])
def test_raw_names_agree_with_the_conversion_of_checkpoints(model: str) -> None:
    unet = manifest_unet(model)
    tensors = manifest_tensors(model, UNET_PREFIX)
    originals = {id(tensor): name for name, tensor in tensors.items()}
    converted = {
        f"diffusion_model.{originals[id(tensor)]}": parameter
        for parameter, tensor in unet_weights(tensors, unet.config).items()
    }

    names = unet_names(unet)

    assert {n: p for n, p in names.items() if n.startswith("diffusion_model.")} == converted
    assert set(converted.values()) == {name for name, _ in unet.named_parameters()}


def test_blocks_are_counted_on_a_unet_with_one_block_per_level() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(32, 64),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
        )

    names = unet_names(unet)

    assert names["lora_unet_input_blocks_2_0_op"] == "down_blocks.0.downsamplers.0.conv.weight"
    assert (
        names["lora_unet_input_blocks_3_1_proj_in"] == "down_blocks.1.attentions.0.proj_in.weight"
    )
    assert names["lora_unet_output_blocks_1_2_conv"] == "up_blocks.0.upsamplers.0.conv.weight"
    assert names["lora_unet_output_blocks_3_0_in_layers_2"] == "up_blocks.1.resnets.1.conv1.weight"
    assert "lora_unet_output_blocks_4_0_in_layers_2" not in names


def test_text_encoders_are_found_under_exactly_the_recorded_names() -> None:
    recorded = load_json("manifests/lora_keymap_sdxl_clip")
    with torch.device("meta"):
        clip_l = CLIPTextModel(CLIPTextConfig(hidden_size=768, num_hidden_layers=12))
        clip_g = CLIPTextModelWithProjection(
            CLIPTextConfig(hidden_size=1280, num_hidden_layers=32, num_attention_heads=20)
        )

    names = clip_l_names(clip_l) | clip_g_names(clip_g)

    kohya = {name: p for name, p in names.items() if not name.startswith(("clip_l.", "clip_g."))}
    assert kohya == {name: names[key] for name, key in recorded.items()}
    for names_of_one, encoder in ((clip_l_names(clip_l), clip_l), (clip_g_names(clip_g), clip_g)):
        assert set(names_of_one.values()) == {name for name, _ in encoder.named_parameters()}
