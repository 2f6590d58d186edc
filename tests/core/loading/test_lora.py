from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.checkpoint import Checkpoint
from fooocus_core.loading.lora import LoraMatch, match_lora, read_lora
from fooocus_core.loading.lora_names import clip_g_names, clip_l_names, unet_names
from fooocus_core.loading.weight_patches import PatchSet, merged_weights
from fooocus_core.text.encoder import TextEncoder
from fooocus_core.text.textual_inversion import TextualInversions
from fooocus_core.text.tokens import Tokenizer
from tests.golden import (
    NETWORK,
    assert_matches,
    case_id,
    load_arrays,
    load_cases,
    random_array,
)
from tests.networks import CPU_PLAN, evaluate_unet, load_checkpoint, load_small_sdxl

CPU = torch.device("cpu")
CASES = load_cases("components/lora")
INPAINT_CASE = {"key": "inpaint_v26", "loras": [["../inpaint/inpaint_v26.fooocus.patch", 1.0]]}
LAYER = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
TEXT_LAYER = "lora_te1_text_model_encoder_layers_0_mlp_fc1"


@pytest.fixture(scope="module")
def checkpoint(weights: Path) -> Checkpoint:
    return load_small_sdxl(weights)


def match(checkpoint: Checkpoint, entries: Any, source: str = "some.safetensors") -> LoraMatch:
    return match_lora(
        entries,
        source=source,
        unet=checkpoint.unet,
        clip_l=checkpoint.clip_l,
        clip_g=checkpoint.clip_g,
    )


@contextmanager
def merged(
    checkpoint: Checkpoint, folder: Path, loras: Sequence[tuple[str, float]]
) -> Iterator[list[str]]:
    matches = [(match(checkpoint, read_lora(folder / name), name), s) for name, s in loras]
    warnings = [warning for found, _ in matches for warning in found.warnings]
    with ExitStack() as stack:
        for part in ("unet", "clip_l", "clip_g"):
            sets = [
                PatchSet(source=found.source, patches=getattr(found, part), strength=strength)
                for found, strength in matches
            ]
            network = getattr(checkpoint, part)
            warnings += stack.enter_context(merged_weights(network, sets, device=CPU))
        yield warnings


def weight_of(checkpoint: Checkpoint, key: str) -> Tensor:
    """A weight by the name the recording gives it."""
    if key.startswith("diffusion_model."):
        return checkpoint.unet.get_parameter(unet_names(checkpoint.unet)[key])
    if key.startswith("clip_l."):
        return checkpoint.clip_l.get_parameter(clip_l_names(checkpoint.clip_l)[key])
    return checkpoint.clip_g.get_parameter(clip_g_names(checkpoint.clip_g)[key])


def pair(name: str, shape: tuple[int, int] = (64, 64)) -> dict[str, Tensor]:
    return {
        f"{name}.lora_up.weight": torch.ones(shape[0], 2),
        f"{name}.lora_down.weight": torch.ones(2, shape[1]),
    }


def unknown(count: int) -> dict[str, Tensor]:
    return {f"unknown_{i}": torch.ones(1) for i in range(count)}


@pytest.mark.parametrize("case", [*CASES, INPAINT_CASE], ids=case_id)
def test_merged_weights_equal_the_vectors(
    case: dict[str, Any], checkpoint: Checkpoint, weights: Path
) -> None:
    recorded = {
        key.removeprefix(f"{case['key']}|"): values
        for key, values in load_arrays("components/lora").items()
        if key.startswith(f"{case['key']}|") and key.endswith((".weight", ".bias"))
    }
    norms = load_arrays("components/lora")

    with merged(checkpoint, weights / "loras", case["loras"]):
        assert recorded
        for key, expected in recorded.items():
            weight = weight_of(checkpoint, key)
            assert_matches(weight.flatten()[:64], expected, NETWORK)
            norm = float(norms[f"{case['key']}|{key}|norm"])
            assert float(weight.double().norm()) == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_merged_networks_give_the_recorded_outputs(
    case: dict[str, Any], checkpoint: Checkpoint, weights: Path
) -> None:
    recorded = load_arrays("components/lora")
    x, y = (torch.from_numpy(random_array(*a)) for a in ((61, (2, 4, 16, 16)), (62, (2, 2816))))

    with merged(checkpoint, weights / "loras", case["loras"]):
        encoder = TextEncoder(
            checkpoint.clip_l,
            checkpoint.clip_g,
            tokenizer=Tokenizer(),
            inversions=TextualInversions([], warn=pytest.fail),
            check=lambda: None,
        )
        text = encoder.encode([case["prompt"]], pooled_texts=1, clip_skip=2)
        context = text.embeddings.repeat(2, 1, 1)
        timestep = torch.full((2,), float(case["t"]))
        noise_prediction = evaluate_unet(checkpoint.unet, x, timestep, context, y)

    assert_matches(text.embeddings, recorded[f"{case['key']}|cond"], NETWORK)
    assert_matches(text.pooled, recorded[f"{case['key']}|pooled"], NETWORK)
    assert_matches(noise_prediction, recorded[f"{case['key']}|eps"], NETWORK)


def test_detaching_restores_every_weight_and_output(checkpoint: Checkpoint, weights: Path) -> None:
    networks = (checkpoint.unet, checkpoint.clip_l, checkpoint.clip_g)
    before = [{name: t.clone() for name, t in n.state_dict().items()} for n in networks]

    with merged(checkpoint, weights / "loras", [("tiny_lora.safetensors", 0.7)]):
        for old, network in zip(before, networks, strict=True):
            new = network.state_dict()
            assert any(not torch.equal(old[name], new[name]) for name in old)

    for old, network in zip(before, networks, strict=True):
        new = network.state_dict()
        assert all(torch.equal(old[name], new[name]) for name in old)


def test_neutral_strength_changes_nothing(checkpoint: Checkpoint, weights: Path) -> None:
    before = {name: t.clone() for name, t in checkpoint.unet.state_dict().items()}

    with merged(checkpoint, weights / "loras", [("tiny_lora.safetensors", 0.0)]):
        after = checkpoint.unet.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_few_unmatched_entries_are_reported_and_the_rest_applies(
    checkpoint: Checkpoint, weights: Path
) -> None:
    entries = read_lora(weights / "loras" / "tiny_lycoris.safetensors")

    found = match(checkpoint, entries, "tiny_lycoris.safetensors")

    assert len(found.unmatched) == 5
    assert len(found.unet) == 8
    [warning] = found.warnings
    assert "tiny_lycoris.safetensors: 5 entries" in warning
    assert "nobody_knows_0.weight" in warning


@pytest.mark.parametrize(("count", "applied"), [(12, True), (13, False)])
def test_f18_more_than_twelve_unmatched_entries_ignore_the_file(
    count: int, applied: bool, checkpoint: Checkpoint
) -> None:
    found = match(checkpoint, {**pair(LAYER), **unknown(count)})

    assert found.is_ignored is not applied
    assert bool(found.unet) is applied
    [warning] = found.warnings
    assert str(count) in warning
    assert "unknown_0" in warning


def test_an_sdxl_lora_is_ignored_by_an_sd15_model(weights: Path) -> None:
    sd15 = load_checkpoint(weights / "checkpoints" / "tiny_sd15.safetensors", CPU_PLAN)
    entries = read_lora(weights / "loras" / "tiny_lora.safetensors")

    found = match_lora(entries, source="tiny_lora", unet=sd15.unet, clip_l=sd15.clip_l)

    assert found.is_ignored
    assert (found.unet, found.clip_l) == ({}, {})


def test_entries_of_text_encoders_are_unmatched_on_a_model_without_them(
    checkpoint: Checkpoint,
) -> None:
    entries = {**pair(LAYER), **pair(TEXT_LAYER)}

    found = match_lora(entries, source="some.safetensors", unet=checkpoint.unet)

    assert found.unmatched == tuple(pair(TEXT_LAYER))


def test_every_entry_of_a_matching_file_is_used_for_one_patch(
    checkpoint: Checkpoint, weights: Path
) -> None:
    entries = read_lora(weights / "loras" / "tiny_lora.safetensors")

    found = match(checkpoint, entries)

    patches = [p for part in (found.unet, found.clip_l, found.clip_g) for p in part.values()]
    tensors = [t for p in patches for t in (p.up, p.down, p.mid) if t is not None]
    assert found.warnings == ()
    assert len({id(tensor) for tensor in tensors}) == len(tensors)
    assert len(tensors) + sum(p.alpha is not None for p in patches) == len(entries)


@pytest.mark.parametrize(
    "name",
    [
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_{}.weight",
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.{}.weight",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.{}.weight",
        "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight.lora_{}.weight",
    ],
    ids=["kohya diffusers", "old diffusers", "with prefix", "raw"],
)
def test_a_layer_is_found_under_each_of_its_names(name: str, checkpoint: Checkpoint) -> None:
    entries = {name.format("up"): torch.ones(64, 2), name.format("down"): torch.ones(2, 64)}

    found = match(checkpoint, entries)

    parameter = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    assert list(found.unet) == [parameter]
    assert found.warnings == ()


def test_peft_names_without_processor_are_not_recognised(checkpoint: Checkpoint) -> None:
    name = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"

    found = match(checkpoint, {f"{name}.lora_linear_layer.up.weight": torch.ones(64, 2)})

    assert found.unet == {}
    assert len(found.unmatched) == 1


def test_the_name_searched_later_wins(checkpoint: Checkpoint) -> None:
    diffusers_layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    later = pair(diffusers_layer)

    found = match(checkpoint, {**later, **pair(LAYER)})

    [patch] = found.unet.values()
    assert patch.up is later[f"{diffusers_layer}.lora_up.weight"]
    assert found.warnings == ()


def test_entries_for_layers_this_unet_lacks_match_but_are_reported(
    checkpoint: Checkpoint,
) -> None:
    found = match(checkpoint, pair("lora_unet_mid_block_resnets_0_conv_shortcut"))

    assert (found.unet, found.unmatched) == ({}, ())
    assert found.absent == ("mid_block.resnets.0.conv_shortcut.weight",)
    assert "mid_block.resnets.0.conv_shortcut.weight" in found.warnings[0]


def test_b65_a_lora_of_another_size_is_left_out_with_a_warning(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    key = "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
    save_file(pair(LAYER, (320, 320)), tmp_path / "large.safetensors")
    before = weight_of(checkpoint, key).clone()

    with merged(checkpoint, tmp_path, [("large.safetensors", 1.0)]) as warnings:
        assert torch.equal(weight_of(checkpoint, key), before)
        [warning] = warnings

    assert "large.safetensors: 1 of its tensors" in warning


def test_a_torch_file_reads_like_a_safetensors_file(
    checkpoint: Checkpoint, weights: Path, tmp_path: Path
) -> None:
    tensors = load_file(weights / "loras" / "tiny_lora.safetensors")
    torch.save({"state_dict": tensors}, tmp_path / "tiny_lora.ckpt")

    found = match(checkpoint, read_lora(tmp_path / "tiny_lora.ckpt"))

    assert len(found.unet) == len(match(checkpoint, tensors).unet)
    assert found.warnings == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_b65_values_that_are_not_finite_are_an_error(value: float, tmp_path: Path) -> None:
    entries = pair(LAYER)
    entries[f"{LAYER}.lora_up.weight"][3, 1] = value
    save_file(entries, tmp_path / "broken.safetensors")

    with pytest.raises(ModelFileError, match=rf"broken\.safetensors.*{LAYER}\.lora_up"):
        read_lora(tmp_path / "broken.safetensors")


def test_b65_a_truncated_file_is_an_error(weights: Path, tmp_path: Path) -> None:
    content = (weights / "loras" / "tiny_lora.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(content[: len(content) // 2])

    with pytest.raises(ModelFileError, match=r"half\.safetensors"):
        read_lora(tmp_path / "half.safetensors")


def test_b65_a_pickle_with_code_is_an_error(tmp_path: Path) -> None:
    torch.save({"a": print}, tmp_path / "code.pt")

    with pytest.raises(ModelFileError, match=r"code\.pt"):
        read_lora(tmp_path / "code.pt")


@pytest.mark.parametrize("content", [[torch.ones(1)], torch.ones(1)], ids=["list", "tensor"])
def test_a_torch_file_without_names_is_an_error(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "bare.pt")

    with pytest.raises(ModelFileError, match=r"bare\.pt does not hold a table"):
        read_lora(tmp_path / "bare.pt")
