"""What features need, and where published files can be had."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from fooocus_core.catalog import EXPANSION_WEIGHTS, ModelKind
from fooocus_core.choices import ControlKind, DescribeKind, InpaintEngine, MaskModel, SamModel
from fooocus_core.config import CoreConfig, DownloadLists
from fooocus_core.downloads import (
    CANNY_CONTROL,
    CPDS_CONTROL,
    FACE_FINDER,
    IMAGE_ENCODER,
    INTERPOSER,
    IP_ADAPTER,
    IP_ADAPTER_FACE,
    IP_NEGATIVE,
    SAFETY_CHECKER,
    SD15_PREVIEW,
    SDXL_PREVIEW,
    UPSCALER,
    ModelFile,
    describe_files,
    find_address,
    image_prompt_files,
    inpaint_files,
    mask_files,
    published_files,
)
from fooocus_core.params import ControlParams, MaskParams
from fooocus_core.performance import MODES
from fooocus_core.presets import PRESETS_FOLDER, read_preset

NOTHING = DownloadLists(checkpoints={}, loras={}, embeddings={}, vae={})
LISTS = {
    "checkpoint_downloads": ModelKind.CHECKPOINT,
    "lora_downloads": ModelKind.LORA,
    "embeddings_downloads": ModelKind.EMBEDDING,
    "vae_downloads": ModelKind.VAE,
}
PRESETS = sorted(PRESETS_FOLDER.glob("*.json"))


def test_every_address_is_an_https_address_of_a_file() -> None:
    for entry in published_files().values():
        parts = urlsplit(entry.address)
        assert parts.scheme == "https", entry
        assert parts.hostname, entry
        assert parts.path.rpartition("/")[2], entry
        assert not parts.query, entry


def test_no_file_is_listed_twice_and_sizes_are_positive() -> None:
    files = published_files()
    assert len({entry.address for entry in files.values()}) == len(files)
    assert all(entry.size is None or entry.size > 0 for entry in files.values())
    assert not any(entry.size is None and entry.size_is_exact for entry in files.values())
    assert all(entry.md5 is None or len(entry.md5) == 32 for entry in files.values())


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_the_models_of_presets_are_listed_at_the_same_address(path: object) -> None:
    preset = read_preset(path).value  # type: ignore[arg-type]
    for key, kind in LISTS.items():
        for name, address in preset.get(key, {}).items():
            assert find_address(ModelFile(kind=kind, name=name), NOTHING) == address


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ModelKind.UPSCALER, UPSCALER.name),
        (ModelKind.VAE_APPROX, INTERPOSER.name),
        (ModelKind.VAE_APPROX, SDXL_PREVIEW.name),
        (ModelKind.VAE_APPROX, SD15_PREVIEW.name),
        (ModelKind.EXPANSION, EXPANSION_WEIGHTS),
        *((ModelKind.LORA, mode.lora.name) for mode in MODES.values() if mode.lora),
        *((file.kind, file.name) for kind in DescribeKind for file in describe_files(kind)),
        (SAFETY_CHECKER.kind, SAFETY_CHECKER.name),
        *((ModelKind.INPAINT, f"{name}.onnx") for name in MaskModel if name != "sam"),
    ],
)
def test_every_file_that_a_feature_reads_is_published(kind: ModelKind, name: str) -> None:
    assert find_address(ModelFile(kind=kind, name=name), NOTHING) is not None


@pytest.mark.parametrize("model", MaskModel)
@pytest.mark.parametrize("size", SamModel)
def test_every_file_that_a_mask_needs_is_published(model: MaskModel, size: SamModel) -> None:
    files = mask_files(MaskParams(model=model, sam_model=size))
    assert all(file in published_files() for file in files)
    assert model is not MaskModel.SAM or files[-1].name.startswith(f"sam_{size}_")


def test_the_upscaler_is_the_published_one() -> None:
    assert published_files()[UPSCALER].size == 33_636_613


@pytest.mark.parametrize(
    ("engine", "patch"),
    [
        (InpaintEngine.V1, "inpaint.fooocus.patch"),
        (InpaintEngine.V2_5, "inpaint_v25.fooocus.patch"),
        (InpaintEngine.V2_6, "inpaint_v26.fooocus.patch"),
    ],
)
def test_an_inpaint_engine_is_a_head_and_a_patch(engine: InpaintEngine, patch: str) -> None:
    files = inpaint_files(engine)
    assert [file.name for file in files] == ["fooocus_inpaint_head.pth", patch]
    assert all(find_address(file, NOTHING) is not None for file in files)


def test_without_an_engine_no_file_is_needed() -> None:
    assert inpaint_files(InpaintEngine.NONE) == ()


@pytest.mark.parametrize(
    ("kind", "painting", "showing"),
    [
        (ControlKind.PYRA_CANNY, (CANNY_CONTROL,), ()),
        (ControlKind.CPDS, (CPDS_CONTROL,), ()),
        (ControlKind.IMAGE_PROMPT, (IMAGE_ENCODER, IP_ADAPTER, IP_NEGATIVE), (IMAGE_ENCODER,)),
        (
            ControlKind.FACE_SWAP,
            (IMAGE_ENCODER, IP_ADAPTER_FACE, IP_NEGATIVE, FACE_FINDER),
            (IMAGE_ENCODER, FACE_FINDER),
        ),
    ],
)
def test_each_kind_of_image_prompt_has_files(
    kind: ControlKind, painting: tuple[ModelFile, ...], showing: tuple[ModelFile, ...]
) -> None:
    assert image_prompt_files(kind, ControlParams()) == painting
    assert image_prompt_files(kind, ControlParams(show_preprocessing=True)) == showing
    assert all(find_address(file, NOTHING) is not None for file in painting)


def test_a_face_that_is_not_searched_needs_no_finder() -> None:
    files = image_prompt_files(ControlKind.FACE_SWAP, ControlParams(skip_preprocessing=True))
    assert files == (IMAGE_ENCODER, IP_ADAPTER_FACE, IP_NEGATIVE)


def test_configured_addresses_win_and_unknown_files_have_none(core: CoreConfig) -> None:
    file = ModelFile(kind=ModelKind.LORA, name="sdxl_lcm_lora.safetensors")
    lists = replace(core.downloads, loras={file.name: "https://mirror.example/lcm"})
    assert find_address(file, lists) == "https://mirror.example/lcm"
    assert find_address(file, NOTHING) != find_address(file, lists)
    assert find_address(replace(file, name="other.safetensors"), lists) is None
    assert find_address(replace(file, kind=ModelKind.VAE), lists) is None


@pytest.mark.parametrize(
    ("params", "names"),
    [
        (MaskParams(model=MaskModel.ISNET_ANIME), ["isnet-anime.onnx"]),
        (
            MaskParams(sam_model=SamModel.VIT_H),
            ["groundingdino_swint_ogc.pth", "bert-base-uncased/vocab.txt", "sam_vit_h_4b8939.pth"],
        ),
        (
            MaskParams(show_boxes=True),
            ["groundingdino_swint_ogc.pth", "bert-base-uncased/vocab.txt"],
        ),
    ],
    ids=["isnet-anime", "sam", "boxes alone"],
)
def test_the_files_that_a_mask_needs(params: MaskParams, names: list[str]) -> None:
    assert [file.name for file in mask_files(params)] == names
