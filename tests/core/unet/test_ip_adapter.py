"""Adapters against recorded tokens, keys and values, and the files they are loaded from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fooocus_core.downloads import IP_ADAPTER, IP_ADAPTER_FACE, IP_NEGATIVE
from fooocus_core.errors import ModelFileError
from fooocus_core.loading.residents import Residents
from fooocus_core.unet.image_attention import ImageGuide, ImagePrompts, ReadPicture
from fooocus_core.unet.ip_adapter import IpAdapter, load_ip_adapter
from fooocus_core.unet.size_conditioning import PromptSide
from tests.golden import NETWORK, assert_matches, load_arrays
from tests.networks import CPU_PLAN, manifest_tensors, manifest_unet

RECORDED = load_arrays("components/ipadapter")
SIDES = {"cond": PromptSide.POSITIVE, "uncond": PromptSide.NEGATIVE}
KEYS_VALUES = [name for name in RECORDED if name.startswith("kv_")]


@pytest.fixture(scope="module")
def folder(weights: Path) -> Path:
    return weights / "controlnet"


@pytest.fixture(scope="module")
def adapter(folder: Path) -> IpAdapter:
    return load_ip_adapter(folder / IP_ADAPTER.name, folder / IP_NEGATIVE.name, CPU_PLAN)


@pytest.fixture(scope="module")
def hidden() -> Tensor:
    return torch.tensor(RECORDED["vision_hidden_m2"])


def tables_of(folder: Path) -> dict[str, dict[str, Tensor]]:
    content: dict[str, dict[str, Tensor]] = torch.load(folder / IP_ADAPTER.name, weights_only=True)
    return content


@torch.no_grad()
def test_a_state_gives_the_recorded_tokens(adapter: IpAdapter, hidden: Tensor) -> None:
    assert_matches(adapter.network.image_proj(hidden), RECORDED["ip_tokens"], NETWORK)


@pytest.mark.parametrize("name", KEYS_VALUES)
def test_a_picture_gives_the_recorded_keys_and_values(
    name: str, adapter: IpAdapter, hidden: Tensor
) -> None:
    _, side, place = name.split("_")

    pairs = adapter.read(hidden).sides[SIDES[side]]

    pair = pairs[int(place) // 2]
    assert_matches(pair.value if int(place) % 2 else pair.key, RECORDED[name], NETWORK)


def test_no_picture_is_computed_once_per_adapter(adapter: IpAdapter, hidden: Tensor) -> None:
    first, second = adapter.read(hidden), adapter.read(-hidden)

    negative, positive = PromptSide.NEGATIVE, PromptSide.POSITIVE
    assert first.sides[negative] is second.sides[negative]
    assert not torch.equal(first.sides[positive][0].key, second.sides[positive][0].key)


def test_the_other_adapter_reads_the_same_picture_differently(
    folder: Path, adapter: IpAdapter, hidden: Tensor
) -> None:
    face = load_ip_adapter(folder / IP_ADAPTER_FACE.name, folder / IP_NEGATIVE.name, CPU_PLAN)

    read = face.read(hidden)

    assert read.adapter == IP_ADAPTER_FACE.name
    for side, pairs in adapter.read(hidden).sides.items():
        assert not torch.equal(read.sides[side][0].value, pairs[0].value)


def test_the_published_files_fit_each_other_and_the_real_base_model(tmp_path: Path) -> None:
    tensors = manifest_tensors("ip_adapter_plus_sdxl_vit_h", "")
    tables: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        tables[part][rest] = tensor
    torch.save(tables, tmp_path / IP_ADAPTER.name)
    (negative,) = manifest_tensors("fooocus_ip_negative", "").values()
    save_file({"data": torch.zeros(negative.shape).half()}, tmp_path / IP_NEGATIVE.name)
    plan = replace(CPU_PLAN, device=torch.device("meta"))

    adapter = load_ip_adapter(tmp_path / IP_ADAPTER.name, tmp_path / IP_NEGATIVE.name, plan)

    state = adapter.network.state_dict()
    assert {name: t.shape for name, t in state.items()} == {n: t.shape for n, t in tensors.items()}
    assert [int(name) for name in adapter.network.ip_adapter] == list(range(1, 140, 2))
    tokens = adapter.network.image_proj(torch.empty(1, 257, 1280, device="meta"))
    pairs = tuple(layer(tokens) for layer in adapter.network.ip_adapter.values())
    picture = ReadPicture(adapter="real", sides=dict.fromkeys(PromptSide, pairs))
    prompts = ImagePrompts([ImageGuide(picture=picture, weight=1.0, stop=1.0)])
    with prompts.attached(manifest_unet("sdxl_base")):
        assert picture.widths == [640] * 4 + [1280] * 50 + [640] * 6 + [1280] * 10


def test_layers_are_ordered_by_the_numbers_in_the_file(
    folder: Path, adapter: IpAdapter, tmp_path: Path
) -> None:
    tables = tables_of(folder)
    tables["ip_adapter"] = dict(sorted(tables["ip_adapter"].items(), reverse=True))
    torch.save(tables, tmp_path / IP_ADAPTER.name)

    shuffled = load_ip_adapter(tmp_path / IP_ADAPTER.name, folder / IP_NEGATIVE.name, CPU_PLAN)

    assert list(shuffled.network.ip_adapter) == list(adapter.network.ip_adapter)


def test_weights_are_rounded_to_the_dtype_of_the_plan(folder: Path, hidden: Tensor) -> None:
    plan = replace(CPU_PLAN, small=torch.bfloat16)
    adapter = load_ip_adapter(folder / IP_ADAPTER.name, folder / IP_NEGATIVE.name, plan)

    read = adapter.read(hidden)

    assert {t.dtype for t in adapter.network.state_dict().values()} == {torch.bfloat16}
    assert {pair.key.dtype for pairs in read.sides.values() for pair in pairs} == {torch.bfloat16}


def test_it_computes_where_its_weights_were_brought(folder: Path, hidden: Tensor) -> None:
    device = torch.device("cpu", 0)
    plan = replace(CPU_PLAN, device=device, stays=False)
    adapter = load_ip_adapter(folder / IP_ADAPTER.name, folder / IP_NEGATIVE.name, plan)
    residents = Residents(plan, lambda tensor, device: tensor.to(device, copy=True))

    residents.bring(adapter.network, device=device)
    brought = adapter.read(hidden)
    residents.clear()

    assert_matches(brought.sides[PromptSide.POSITIVE][0].key, RECORDED["kv_cond_0"], NETWORK)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("image_proj"), "two tables of tensors, image_proj and ip_adapter"),
        (lambda t: t.update(ip_adapter=torch.ones(1)), "two tables of tensors"),
        (lambda t: t["image_proj"].pop("latents"), "Missing entries: latents"),
        (lambda t: t["image_proj"].pop("norm_out.bias"), "Missing entries: image_proj.norm_out"),
        (lambda t: t["ip_adapter"].pop("3.to_v_ip.weight"), "Missing entries: ip_adapter.3.to_v"),
        (lambda t: t["ip_adapter"].pop("3.to_k_ip.weight"), "Unexpected entries: ip_adapter.3.to"),
        (lambda t: t["image_proj"].update(latents=torch.ones(2)), "cannot be loaded"),
        (lambda t: t["image_proj"].update({"norm_out.bias": 3}), "do not fit together"),
        (
            lambda t: t["ip_adapter"].update({"1.to_k_ip.weight": torch.ones(())}),
            "not fit together",
        ),
    ],
    ids=["no table", "a tensor", "queries", "norm", "value", "key", "dimensions", "number", "0-d"],
)
def test_a_file_with_wrong_entries_is_an_error_naming_it(
    change: Change, message: str, folder: Path, tmp_path: Path
) -> None:
    tables = tables_of(folder)
    change(tables)
    torch.save(tables, tmp_path / IP_ADAPTER.name)

    with pytest.raises(ModelFileError, match=rf"{IP_ADAPTER.name}.*{message}"):
        load_ip_adapter(tmp_path / IP_ADAPTER.name, folder / IP_NEGATIVE.name, CPU_PLAN)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"tail": torch.ones(1, 16, 320)}, "there is none"),
        ({"data": torch.ones(1, 16, 2048)}, r"its shape is \(1, 16, 2048\)"),
        ({"data": torch.ones(1, 4, 320)}, r"its shape is \(1, 4, 320\)"),
    ],
    ids=["another name", "another width", "another number of tokens"],
)
def test_tokens_of_no_picture_that_do_not_fit_are_an_error(
    content: dict[str, Tensor], found: str, folder: Path, tmp_path: Path
) -> None:
    save_file(content, tmp_path / IP_NEGATIVE.name)

    with pytest.raises(ModelFileError, match=rf"{IP_NEGATIVE.name}.*{found}"):
        load_ip_adapter(folder / IP_ADAPTER.name, tmp_path / IP_NEGATIVE.name, CPU_PLAN)


def test_a_missing_or_damaged_file_is_an_error(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / IP_ADAPTER.name
    broken.write_bytes((folder / IP_ADAPTER.name).read_bytes()[:5000])

    for file in (broken, tmp_path / "other" / IP_ADAPTER.name):
        with pytest.raises(ModelFileError, match=IP_ADAPTER.name):
            load_ip_adapter(file, folder / IP_NEGATIVE.name, CPU_PLAN)
    with pytest.raises(ModelFileError, match=IP_NEGATIVE.name):
        load_ip_adapter(folder / IP_ADAPTER.name, tmp_path / IP_NEGATIVE.name, CPU_PLAN)


def test_an_encoder_of_another_width_is_an_error(adapter: IpAdapter) -> None:
    with pytest.raises(ModelFileError, match=r"width 64, but clip_vision.* is 96 wide"):
        adapter.read(torch.zeros(1, 257, 96))


@pytest.mark.parametrize(
    ("table", "name"), [("image_proj", "norm_out.bias"), ("ip_adapter", "33.to_v_ip.weight")]
)
def test_weights_that_are_no_numbers_are_noticed(
    folder: Path, hidden: Tensor, tmp_path: Path, table: str, name: str
) -> None:
    tables = tables_of(folder)
    tables[table][name].fill_(float("nan"))
    torch.save(tables, tmp_path / IP_ADAPTER.name)
    broken = load_ip_adapter(tmp_path / IP_ADAPTER.name, folder / IP_NEGATIVE.name, CPU_PLAN)

    with pytest.raises(ModelFileError, match=f"{IP_ADAPTER.name}.*not finite"):
        broken.read(hidden)


def test_tokens_of_no_picture_that_are_no_numbers_are_noticed(
    folder: Path, hidden: Tensor, tmp_path: Path
) -> None:
    save_file({"data": torch.full((1, 16, 320), torch.nan)}, tmp_path / IP_NEGATIVE.name)
    broken = load_ip_adapter(folder / IP_ADAPTER.name, tmp_path / IP_NEGATIVE.name, CPU_PLAN)

    with pytest.raises(ModelFileError, match=f"{IP_NEGATIVE.name}.*not finite"):
        broken.read(hidden)


def test_an_adapter_for_another_base_model_is_an_error(adapter: IpAdapter, hidden: Tensor) -> None:
    picture: ReadPicture = adapter.read(hidden)
    prompts = ImagePrompts([ImageGuide(picture=picture, weight=1.0, stop=1.0)])
    unet = manifest_unet("sdxl_base")

    with (
        pytest.raises(
            ModelFileError,
            match=rf"{IP_ADAPTER.name}.*17 .* of width 64, 128.*70 .* of width 640, 1280",
        ),
        prompts.attached(unet),
    ):
        pass
