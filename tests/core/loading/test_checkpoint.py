"""Checkpoints of every kind and size become modules whose names match exactly."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fooocus_core.config import DeviceOptions, Precision
from fooocus_core.errors import ModelFileError
from fooocus_core.loading.checkpoint import (
    Checkpoint,
    CheckpointKind,
    Prediction,
    build_checkpoint,
    build_refiner,
    build_vae,
    detect_kind,
)
from fooocus_core.loading.memory import DevicePlan, plan_device
from fooocus_core.loading.weight_file import WeightFile, read_weights
from tests.golden import GOLDEN, NETWORK, assert_matches, load_arrays
from tests.networks import load_checkpoint, load_vae

CPU = plan_device(None, DeviceOptions())
META = DevicePlan(
    device=torch.device("meta"),
    vae_device=torch.device("meta"),
    text_device=torch.device("meta"),
    unet=torch.float16,
    unet_compute=torch.float16,
    text=torch.float16,
    vae=torch.bfloat16,
    vae_compute=torch.bfloat16,
    expansion=torch.float16,
    small=torch.float16,
)
UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def sdxl(weights: Path) -> Checkpoint:
    return load_checkpoint(weights / "checkpoints" / "tiny_sdxl.safetensors", CPU)


@pytest.fixture(scope="module")
def tensors(weights: Path) -> dict[str, Tensor]:
    return load_file(weights / "checkpoints" / "tiny_sdxl.safetensors")


def read_manifest(name: str) -> dict[str, Tensor]:
    shapes = json.loads((GOLDEN / "manifests" / f"{name}.json").read_text(encoding="utf-8"))
    return {key: torch.empty(shape, device="meta") for key, (_, shape) in shapes.items()}


def make_file(tensors: dict[str, Tensor], **metadata: str) -> WeightFile:
    return WeightFile(path=Path("some.safetensors"), tensors=tensors, metadata=metadata)


def count_parameters(module: torch.nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("index", range(3))
def test_the_unet_predicts_the_recorded_noise(sdxl: Checkpoint, index: int) -> None:
    arrays = {
        name: torch.from_numpy(array) for name, array in load_arrays("components/unet").items()
    }
    y = arrays[f"y{index}"]
    context = torch.cat([arrays["context"], arrays["context"] * 0.9])
    sizes = torch.zeros(2, 6)

    # The recording gives the finished size vector, so it replaces what is made of the six numbers.
    hook = sdxl.unet.add_embedding.register_forward_pre_hook(lambda _module, _args: (y,))
    with torch.no_grad(), hook:
        noise = sdxl.unet(
            arrays[f"x{index}"],
            arrays[f"t{index}"],
            encoder_hidden_states=context,
            added_cond_kwargs={"text_embeds": y[:, :1280], "time_ids": sizes},
        ).sample

    assert_matches(noise, arrays[f"eps{index}"].numpy(), NETWORK)


@pytest.mark.parametrize(
    ("name", "kind", "has_clip_l", "has_clip_g"),
    [
        ("tiny_sdxl", CheckpointKind.SDXL, True, True),
        ("tiny_refiner", CheckpointKind.SDXL_REFINER, False, True),
        ("tiny_sd15", CheckpointKind.SD15, True, False),
    ],
)
def test_small_checkpoints_of_every_kind_load(
    weights: Path, name: str, kind: CheckpointKind, has_clip_l: bool, has_clip_g: bool
) -> None:
    loaded = load_checkpoint(weights / "checkpoints" / f"{name}.safetensors", CPU)
    assert loaded.kind is kind
    assert loaded.prediction is Prediction.EPSILON
    assert (loaded.clip_l is not None, loaded.clip_g is not None) == (has_clip_l, has_clip_g)
    assert not loaded.unet.training
    assert {p.dtype for p in loaded.unet.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "kind", "has_vae"),
    [
        ("tiny_sdxl", CheckpointKind.SDXL, False),
        ("tiny_refiner", CheckpointKind.SDXL_REFINER, False),
        ("tiny_sd15", CheckpointKind.SD15, True),
    ],
)
def test_only_what_refines_is_loaded_of_a_refiner(
    weights: Path, name: str, kind: CheckpointKind, has_vae: bool
) -> None:
    path = weights / "checkpoints" / f"{name}.safetensors"
    refiner, whole = build_refiner(read_weights(path), CPU), load_checkpoint(path, CPU)
    assert refiner.kind is kind
    assert (refiner.vae is not None) is has_vae
    for empty, full in ((refiner.clip_l, whole.clip_l), (refiner.clip_g, whole.clip_g)):
        assert (empty is None) is (full is None)
        if empty is not None and full is not None:
            assert {name: p.shape for name, p in empty.named_parameters()} == {
                name: p.shape for name, p in full.named_parameters()
            }
            assert all(parameter.is_meta for parameter in empty.parameters())
    states = refiner.unet.state_dict(), whole.unet.state_dict()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_heads_are_64_wide_but_eight_in_sd15(weights: Path, sdxl: Checkpoint) -> None:
    sd15 = load_checkpoint(weights / "checkpoints" / "tiny_sd15.safetensors", CPU)
    assert [m.heads for n, m in sdxl.unet.named_modules() if n.endswith("attn1")][0] == 1
    assert {m.heads for n, m in sd15.unet.named_modules() if n.endswith("attn1")} == {8}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sdxl_base", CheckpointKind.SDXL),
        ("sdxl_refiner", CheckpointKind.SDXL_REFINER),
        ("sd15", CheckpointKind.SD15),
    ],
)
def test_published_checkpoints_fill_their_modules_exactly(name: str, kind: CheckpointKind) -> None:
    tensors = read_manifest(name)
    loaded = build_checkpoint(make_file(tensors), META)

    assert loaded.kind is kind
    assert all(parameter.is_meta for parameter in loaded.unet.parameters())
    modules = (loaded.unet, loaded.vae, loaded.clip_l, loaded.clip_g)
    ignored = ("position_ids", "logit_scale")
    stored = sum(t.numel() for key, t in tensors.items() if not key.endswith(ignored))
    assert sum(count_parameters(module) for module in modules) == stored
    expected = sum(t.numel() for key, t in tensors.items() if key.startswith(UNET))
    assert count_parameters(loaded.unet) == expected


def test_the_published_stand_alone_vae_fills_its_module_exactly() -> None:
    tensors = read_manifest("vae_standalone")
    vae = build_vae(make_file(tensors), META)
    assert count_parameters(vae) == sum(tensor.numel() for tensor in tensors.values())


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ({4: 2, 5: 2, 7: 4, 8: 4}, {0: 4, 1: 4, 2: 10, 3: 2, 4: 1, 5: 1}),
        ({4: 1, 5: 1, 7: 2, 8: 2}, {0: 2, 1: 2, 2: 2, 3: 1, 4: 1, 5: 1}),
    ],
    ids=["SSD-1B", "Segmind-Vega"],
)
def test_pruned_sdxl_networks_load(down: dict[int, int], up: dict[int, int]) -> None:
    def is_kept(name: str) -> bool:
        if name.startswith((f"{UNET}middle_block.1.", f"{UNET}middle_block.2.")):
            return False
        match = re.search(r"(input|output)_blocks\.(\d+)\.1\.transformer_blocks\.(\d+)\.", name)
        if match is None:
            return True
        return int(match[3]) < (down if match[1] == "input" else up)[int(match[2])]

    tensors = {name: t for name, t in read_manifest("sdxl_base").items() if is_kept(name)}

    loaded = build_checkpoint(make_file(tensors), META)

    stored = sum(t.numel() for name, t in tensors.items() if name.startswith(UNET))
    assert count_parameters(loaded.unet) == stored


def test_the_header_may_override_the_vaes_group_count(tensors: dict[str, Tensor]) -> None:
    file = make_file(tensors, **{"vae.norm_num_groups": "1"})
    assert build_checkpoint(file, CPU).vae.decoder.conv_norm_out.num_groups == 1


def test_a_v_prediction_mark_is_seen(tensors: dict[str, Tensor]) -> None:
    file = make_file({**tensors, "v_pred": torch.tensor([])})
    assert build_checkpoint(file, CPU).prediction is Prediction.V


def test_entries_that_are_no_weights_are_ignored(tensors: dict[str, Tensor]) -> None:
    extra = torch.zeros(1)
    names = (
        "denoiser.sigmas",
        "model_ema.decay",
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids",
        "conditioner.embedders.1.model.logit_scale",
        "first_stage_model.loss.logvar",
    )
    build_checkpoint(make_file({**tensors, **dict.fromkeys(names, extra)}), CPU)


def test_a_torch_file_with_a_state_dict_loads(
    tensors: dict[str, Tensor], sdxl: Checkpoint, tmp_path: Path
) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": tensors, "epoch": 3}, path)
    loaded = load_checkpoint(path, CPU)
    assert torch.equal(loaded.unet.conv_in.weight, sdxl.unet.conv_in.weight)


def test_text_weights_are_rounded_but_embeddings_are_not(tensors: dict[str, Tensor]) -> None:
    values = {name: tensor.float() + 1e-4 for name, tensor in tensors.items()}
    plan = plan_device(None, DeviceOptions(clip_in=Precision.FP16))
    model = build_checkpoint(make_file(values), plan).clip_l
    assert model is not None
    weight = model.encoder.layers[0].mlp.fc1.weight
    table = model.embeddings.token_embedding.weight
    assert (weight.dtype, table.dtype) == (torch.float16, torch.float32)
    assert not torch.equal(table, table.half().float())


def test_a_stand_alone_vae_replaces_the_checkpoints_own(weights: Path) -> None:
    path = weights / "vae" / "tiny_vae_b.safetensors"
    base = weights / "checkpoints" / "tiny_sdxl.safetensors"
    loaded = load_checkpoint(base, CPU, vae=path)
    alone = load_vae(path, CPU)
    assert torch.equal(loaded.vae.encoder.conv_in.weight, alone.encoder.conv_in.weight)


@pytest.mark.parametrize("old_attention", [False, True], ids=["to_q", "query"])
def test_a_vae_in_diffusers_names_loads(weights: Path, tmp_path: Path, old_attention: bool) -> None:
    alone = load_vae(weights / "vae" / "tiny_vae_b.safetensors", CPU)
    state = {name: tensor.contiguous() for name, tensor in alone.state_dict().items()}
    if old_attention:
        new_to_old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for new, old in new_to_old.items():
            state = {name.replace(f".{new}.", f".{old}."): t for name, t in state.items()}
    path = tmp_path / "diffusers.safetensors"
    save_file(state, path)

    loaded = load_vae(path, CPU)

    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, alone.state_dict()[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{UNET}time_embed.0.bias", r"UNet in some\.safetensors.*time_embedding\.linear_1\.bias"),
        (f"{UNET}label_emb.0.2.bias", r"UNet in some\.safetensors.*label_emb\.0\.2\.bias"),
        (
            "first_stage_model.encoder.down.1.downsample.conv.bias",
            r"VAE in some\.safetensors.*downsamplers\.0\.conv\.bias",
        ),
        ("conditioner.embedders.1.model.ln_final.bias", r"CLIP-G.*final_layer_norm\.bias"),
        (
            "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias",
            r"CLIP-L.*final_layer_norm\.bias",
        ),
    ],
    ids=lambda value: value.split(".")[-2] if value.endswith("bias") else "",
)
def test_a_missing_entry_is_named(tensors: dict[str, Tensor], name: str, message: str) -> None:
    file = make_file({key: tensor for key, tensor in tensors.items() if key != name})
    with pytest.raises(ModelFileError, match=message):
        build_checkpoint(file, CPU)


@pytest.mark.parametrize(
    "prefix", ["first_stage_model.encoder.down.", f"{UNET}input_blocks.", f"{UNET}middle_block.0"]
)
def test_a_checkpoint_less_a_whole_part_is_an_error(
    tensors: dict[str, Tensor], prefix: str
) -> None:
    file = make_file({key: t for key, t in tensors.items() if not key.startswith(prefix)})
    with pytest.raises(ModelFileError, match=r"some\.safetensors"):
        build_checkpoint(file, CPU)


def test_an_unexpected_entry_is_named(tensors: dict[str, Tensor]) -> None:
    file = make_file({**tensors, f"{UNET}time_embed.cond_proj.weight": torch.zeros(1)})
    with pytest.raises(ModelFileError, match=r"Unexpected entries: time_embed\.cond_proj"):
        build_checkpoint(file, CPU)


def test_b65_a_wrong_shape_is_named(tensors: dict[str, Tensor]) -> None:
    file = make_file({**tensors, f"{UNET}time_embed.0.bias": torch.zeros(5)})
    with pytest.raises(ModelFileError, match=r"shape \(5,\)"):
        build_checkpoint(file, CPU)


def test_a_missing_vae_is_an_error_unless_another_one_is_given(
    tensors: dict[str, Tensor], weights: Path
) -> None:
    other = read_weights(weights / "vae" / "tiny_vae_b.safetensors")
    file = make_file({k: t for k, t in tensors.items() if not k.startswith("first_stage_model.")})
    with pytest.raises(ModelFileError, match=r"VAE in some\.safetensors"):
        build_checkpoint(file, CPU)
    assert build_checkpoint(file, CPU, vae=other).vae is not None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["some.lora_up.weight"], "is not a checkpoint"),
        ([f"{UNET}out.2.weight"], "has no text encoder"),
    ],
    ids=["lora", "unet-only"],
)
def test_b65_a_file_that_is_no_checkpoint_is_refused(names: list[str], message: str) -> None:
    file = make_file(dict.fromkeys(names, torch.zeros(1)))
    with pytest.raises(ModelFileError, match=message):
        detect_kind(file)


def test_an_inpainting_unet_is_refused(tensors: dict[str, Tensor]) -> None:
    name = f"{UNET}input_blocks.0.0.weight"
    wide = torch.zeros(tensors[name].shape[0], 9, 3, 3)
    with pytest.raises(ModelFileError, match="9 channels"):
        build_checkpoint(make_file({**tensors, name: wide}), CPU)
