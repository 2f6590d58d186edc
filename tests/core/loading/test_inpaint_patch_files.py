"""The 8-bit patch files of the inpaint engines, in every form they may come in."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.lora import LoraMatch, match_lora, read_lora
from fooocus_core.loading.lora_names import unet_names
from fooocus_core.loading.weight_patches import PatchSet, Quantised, merged_weights
from tests.golden import load_json
from tests.networks import load_small_sdxl, manifest_unet
from tests.tiny_unet import load_tiny_unet

Entries = Mapping[str, Any]
CPU = torch.device("cpu")
NAME = "some.fooocus.patch"
MATRIX = "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
KERNEL = "diffusion_model.input_blocks.1.0.in_layers.2.weight"
BIAS = "diffusion_model.input_blocks.1.0.in_layers.2.bias"
NORM = "diffusion_model.input_blocks.1.0.in_layers.0.weight"


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return load_tiny_unet()


def weight_of(unet: UNet2DConditionModel, key: str) -> Tensor:
    return unet.get_parameter(unet_names(unet)[key])


def difference(shape: tuple[int, ...], *, per_row: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Bytes and their range for a weight; rows have ranges of their own if asked."""
    generator = torch.Generator().manual_seed(len(shape))
    value = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    ranges = (shape[0], *(1 for _ in shape[1:])) if per_row else ()
    spread = 0.01 + 0.1 * torch.rand(ranges, generator=generator)
    return value, (-spread).half(), (2.0 * spread).half()


def entries_for(unet: UNet2DConditionModel, *keys: str, per_row: bool = True) -> dict[str, Any]:
    return {key: difference(tuple(weight_of(unet, key).shape), per_row=per_row) for key in keys}


def save(folder: Path, content: Any, **options: Any) -> Path:
    torch.save(content, folder / NAME, **options)
    return folder / NAME


def compress(path: Path) -> Path:
    """The same file with its members deflated."""
    packed = path.with_name(f"packed.{NAME}")
    with (
        zipfile.ZipFile(path) as plain,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in plain.namelist():
            target.writestr(name, plain.read(name))
    return packed


@contextmanager
def merged(unet: UNet2DConditionModel, path: Path) -> Iterator[list[str]]:
    """The patch in a UNet, and what was said about it."""
    match = match_lora(read_lora(path), source=path.name, unet=unet)
    patches = PatchSet(source=path.name, patches=match.unet, strength=1.0)
    with merged_weights(unet, [patches], device=CPU) as misfits:
        yield [*match.warnings, *misfits]


def state_of(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in unet.state_dict().items()}


def changed(unet: UNet2DConditionModel, before: Mapping[str, Tensor]) -> set[str]:
    return {
        name for name, tensor in unet.state_dict().items() if not torch.equal(tensor, before[name])
    }


@pytest.mark.parametrize("file", ["inpaint", "inpaint_v25", "inpaint_v26"])
def test_the_synthetic_patch_of_every_engine_is_used_whole(file: str, weights: Path) -> None:
    unet = load_small_sdxl(weights).unet
    path = weights / "inpaint" / f"{file}.fooocus.patch"
    before = state_of(unet)

    with merged(unet, path) as warnings:
        assert warnings == []
        assert len(changed(unet, before)) == len(read_lora(path))

    assert changed(unet, before) == set()


def test_a_patch_of_all_tensors_of_sdxl_matches_and_fits() -> None:
    dtypes = {"U8": torch.uint8, "F16": torch.float16}
    entries = {
        name: tuple(torch.empty(s, dtype=dtypes[d], device="meta") for d, s in parts)
        for name, parts in load_json("manifests/inpaint_v25_patch_inferred").items()
    }
    unet = manifest_unet("sdxl_base")

    match = match_lora(entries, source=NAME, unet=unet)

    parameters = dict(unet.named_parameters())
    assert len(entries) == 1680
    assert match.warnings == ()
    assert match.unet.keys() == parameters.keys()
    for name, patch in match.unet.items():
        assert isinstance(patch, Quantised)
        rows = parameters[name].shape[:1]
        assert patch.value.shape == parameters[name].shape
        assert patch.minimum.shape == patch.maximum.shape
        assert patch.minimum.shape == (*rows, *(1 for _ in patch.value.shape[1:]))
        assert patch.delta(parameters[name], 1.0).shape == parameters[name].shape


@pytest.mark.parametrize("per_row", [False, True], ids=["one range", "a range per row"])
@pytest.mark.parametrize("key", [MATRIX, KERNEL, BIAS, NORM])
def test_bytes_become_the_difference_of_their_range(
    key: str, per_row: bool, unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    entries = entries_for(unet, key, per_row=per_row)
    before = weight_of(unet, key).clone()

    with merged(unet, save(tmp_path, entries)) as warnings:
        after = weight_of(unet, key).clone()
        assert warnings == []

    value, low, high = (part.float() for part in entries[key])
    assert torch.equal(after, before + (value / 255.0 * (high - low) + low))


@pytest.mark.parametrize("keys", [(MATRIX,), (KERNEL, BIAS), (MATRIX, KERNEL, BIAS, NORM)], ids=len)
def test_any_subset_changes_just_these_weights(
    keys: tuple[str, ...], unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    path = save(tmp_path, entries_for(unet, *keys))
    before = state_of(unet)

    with merged(unet, path) as warnings:
        assert warnings == []
        assert changed(unet, before) == {unet_names(unet)[key] for key in keys}

    assert changed(unet, before) == set()


@pytest.mark.parametrize(
    "form", ["compressed", "old container", "under state_dict", "lists for tuples"]
)
def test_a_file_of_another_form_holds_the_same(
    form: str, unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    entries = entries_for(unet, MATRIX, KERNEL, BIAS)
    match form:
        case "compressed":
            path = compress(save(tmp_path, entries))
        case "old container":
            path = save(tmp_path, entries, _use_new_zipfile_serialization=False)
        case "under state_dict":
            path = save(tmp_path, {"state_dict": entries})
        case _:
            path = save(tmp_path, {key: list(parts) for key, parts in entries.items()})

    read = read_lora(path)

    assert read.keys() == entries.keys()
    for key, parts in entries.items():
        assert all(torch.equal(a, b) for a, b in zip(read[key], parts, strict=True))
    assert len(match_lora(read, source=NAME, unet=unet).unet) == len(entries)


def test_bytes_stay_bytes_until_they_are_merged(unet: UNet2DConditionModel, tmp_path: Path) -> None:
    match = match_lora(read_lora(save(tmp_path, entries_for(unet, KERNEL))), source=NAME, unet=unet)

    [patch] = match.unet.values()
    assert isinstance(patch, Quantised)
    assert (patch.value.dtype, patch.minimum.dtype) == (torch.uint8, torch.float16)


def test_half_precision_weights_are_restored_bit_for_bit(tmp_path: Path) -> None:
    unet = load_tiny_unet().half()
    path = save(tmp_path, entries_for(unet, MATRIX, KERNEL, BIAS, NORM))
    before = state_of(unet)

    with merged(unet, path):
        assert len(changed(unet, before)) == 4
        assert unet.dtype == torch.float16

    assert changed(unet, before) == set()


def match_of(unet: UNet2DConditionModel, entries: Entries, folder: Path) -> LoraMatch:
    return match_lora(read_lora(save(folder, entries)), source=NAME, unet=unet)


@pytest.mark.parametrize(("count", "applied"), [(1, True), (12, True), (13, False)])
def test_foreign_entries_are_reported_and_too_many_disable_the_file(
    count: int, applied: bool, unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    foreign = {f"other_model.{i}.weight": difference((4, 4), per_row=True) for i in range(count)}

    match = match_of(unet, {**entries_for(unet, MATRIX), **foreign}, tmp_path)

    assert bool(match.unet) is applied
    [warning] = match.warnings
    assert warning.startswith(NAME)
    assert "other_model.0.weight" in warning


@pytest.mark.parametrize(
    "broken",
    [
        (torch.zeros(32, 32), torch.zeros(32, 1), torch.ones(32, 1)),
        (torch.zeros(32, 32, dtype=torch.uint8), 0.0, 1.0),
        (torch.zeros(32, 32, dtype=torch.uint8), torch.zeros(32, 1)),
        torch.zeros(32, 32, dtype=torch.uint8),
        "bytes",
    ],
    ids=["floats for bytes", "numbers for tensors", "a pair", "no range", "text"],
)
def test_an_entry_of_another_form_is_reported_and_the_rest_applies(
    broken: Any, unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    match = match_of(unet, {**entries_for(unet, KERNEL), MATRIX: broken}, tmp_path)

    assert list(match.unet) == [unet_names(unet)[KERNEL]]
    [warning] = match.warnings
    assert MATRIX in warning


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [((64, 24), (64, 1), (64, 1)), ((32, 32), (7, 1), (7, 1)), ((32, 32), (1, 32, 32), ())],
    ids=["another weight", "another number of rows", "too many axes"],
)
def test_an_entry_of_another_shape_is_reported_and_the_rest_applies(
    value: tuple[int, ...],
    low: tuple[int, ...],
    high: tuple[int, ...],
    unet: UNet2DConditionModel,
    tmp_path: Path,
) -> None:
    misfit = (torch.zeros(value, dtype=torch.uint8), torch.zeros(low), torch.ones(high))
    path = save(tmp_path, {**entries_for(unet, KERNEL), MATRIX: misfit})
    before = state_of(unet)

    with merged(unet, path) as warnings:
        assert changed(unet, before) == {unet_names(unet)[KERNEL]}

    [warning] = warnings
    assert warning.startswith(NAME)
    assert unet_names(unet)[MATRIX] in warning


@pytest.mark.parametrize("part", [1, 2], ids=["minimum", "maximum"])
def test_a_range_that_is_not_finite_is_an_error(
    part: int, unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    entries = entries_for(unet, MATRIX)
    entries[MATRIX][part][3] = float("inf")

    with pytest.raises(ModelFileError, match=rf"{NAME}.*{MATRIX}"):
        read_lora(save(tmp_path, entries))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_an_error(
    share: float, packed: bool, unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    path = save(tmp_path, entries_for(unet, MATRIX, KERNEL, BIAS, NORM))
    path = compress(path) if packed else path
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])

    with pytest.raises(ModelFileError, match=NAME):
        read_lora(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [({}, "holds no tensors"), ([torch.ones(1)], "does not hold a table"), (None, "table")],
    ids=["nothing", "no names", "none"],
)
def test_a_file_without_entries_is_an_error(content: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=rf"{NAME}.*{reason}"):
        read_lora(save(tmp_path, content))


def test_a_page_saved_in_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("<html>Not found</html>", encoding="utf-8")

    with pytest.raises(ModelFileError, match=NAME):
        read_lora(tmp_path / NAME)
