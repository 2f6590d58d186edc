from __future__ import annotations

import pytest
import torch

from fooocus_core.loading.lora_formats import EntryTable, read_patches
from fooocus_core.loading.weight_patches import (
    Difference,
    Glora,
    Hadamard,
    Kronecker,
    LowRank,
    Quantised,
    WeightPatch,
)

NAME = "lora_unet_some_layer"
HADAMARD = (".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b")
FORMATS = {
    "kohya": (LowRank, (".lora_up.weight", ".lora_down.weight")),
    "kohya with mid": (LowRank, (".lora_up.weight", ".lora_down.weight", ".lora_mid.weight")),
    "old diffusers": (LowRank, ("_lora.up.weight", "_lora.down.weight")),
    "linear layer": (LowRank, (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight")),
    "loha": (Hadamard, HADAMARD),
    "loha with cores": (Hadamard, (*HADAMARD, ".hada_t1", ".hada_t2")),
    "lokr": (Kronecker, (".lokr_w1", ".lokr_w2")),
    "lokr low-rank second": (Kronecker, (".lokr_w1", ".lokr_w2_a", ".lokr_w2_b", ".lokr_t2")),
    "lokr low-rank first": (Kronecker, (".lokr_w1_a", ".lokr_w1_b", ".lokr_w2")),
    "glora": (Glora, (".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight")),
    "diff": (Difference, (".diff",)),
    "norm": (Difference, (".w_norm",)),
}


def read(entries: dict[str, object]) -> tuple[list[tuple[str, WeightPatch]], set[str]]:
    table = EntryTable(entries=entries)
    return list(read_patches(table, NAME, "layer.weight")), table.taken


@pytest.mark.parametrize(("kind", "suffixes"), FORMATS.values(), ids=FORMATS)
def test_every_entry_of_a_format_becomes_part_of_one_patch(
    kind: type[WeightPatch], suffixes: tuple[str, ...]
) -> None:
    entries = {NAME + suffix: torch.full((2, 2), float(i)) for i, suffix in enumerate(suffixes)}

    [(parameter, patch)], taken = read({**entries, f"{NAME}.alpha": torch.tensor(3.0)})

    assert isinstance(patch, kind)
    assert parameter == "layer.weight"
    assert taken == {*entries, f"{NAME}.alpha"}
    values = [getattr(patch, field) for field in patch.__slots__]
    held = [float(value.flatten()[0]) for value in values if isinstance(value, torch.Tensor)]
    assert sorted(held) == [float(i) for i in range(len(suffixes))]
    assert getattr(patch, "alpha", 3.0) == 3.0


@pytest.mark.parametrize(
    "suffixes",
    [s for _, s in FORMATS.values() if len(s) > 1],
    ids=[n for n, (_, s) in FORMATS.items() if len(s) > 1],
)
def test_an_incomplete_format_gives_no_patch_and_is_not_taken(suffixes: tuple[str, ...]) -> None:
    patches, taken = read({NAME + suffixes[1]: torch.ones(2, 2)})

    assert (patches, taken) == ([], set())


@pytest.mark.parametrize("suffix", [".diff_b", ".b_norm"])
def test_bias_entries_patch_the_bias(suffix: str) -> None:
    [(parameter, patch)], _ = read({NAME + suffix: torch.ones(2)})

    assert parameter == "layer.bias"
    assert isinstance(patch, Difference)


def test_a_triple_under_the_name_itself_is_a_quantised_difference() -> None:
    triple = (torch.zeros(2, 2, dtype=torch.uint8), torch.tensor(-1.0), torch.tensor(1.0))

    [(_, patch)], taken = read({NAME: triple})

    assert isinstance(patch, Quantised)
    assert (patch.value, patch.minimum, patch.maximum) == triple
    assert taken == {NAME}


@pytest.mark.parametrize(
    "entries",
    [
        {NAME: torch.ones(2, 2)},
        {NAME: (torch.ones(2, 2), 0.0, 1.0)},
        {NAME: (torch.ones(2, 2), torch.ones(1))},
        {NAME: (torch.ones(2, 2), torch.ones(1), torch.ones(1))},
        {f"{NAME}.alpha": torch.ones(2)},
        {f"{NAME}.diff": "text"},
    ],
    ids=[
        "a plain tensor",
        "numbers in a triple",
        "a pair",
        "floats for bytes",
        "two alphas",
        "text",
    ],
)
def test_entries_of_no_known_form_are_not_taken(entries: dict[str, object]) -> None:
    assert read(entries) == ([], set())


def test_a_later_format_of_the_same_weight_comes_later() -> None:
    patches, _ = read(
        {
            f"{NAME}.diff": torch.ones(2, 2),
            f"{NAME}.lora_up.weight": torch.ones(2, 1),
            f"{NAME}.lora_down.weight": torch.ones(1, 2),
        }
    )

    assert [type(patch) for _, patch in patches] == [LowRank, Difference]
