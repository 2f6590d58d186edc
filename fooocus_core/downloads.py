"""Which model file a feature needs, and where each published file can be had.

Looks things up only; fetches nothing and knows nothing of what is on disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fooocus_core.catalog import ModelKind
from fooocus_core.choices import ControlKind, DescribeKind, InpaintEngine, MaskModel, SamModel
from fooocus_core.config import DownloadLists
from fooocus_core.files import DATA_FOLDER
from fooocus_core.params import ControlParams, EnhanceParams, MaskParams

FILES_TABLE = DATA_FOLDER / "files.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A file by its kind and its name inside the folders of that kind."""

    kind: ModelKind
    name: str


UPSCALER = ModelFile(kind=ModelKind.UPSCALER, name="fooocus_upscaler_s409985e5.bin")
INTERPOSER = ModelFile(kind=ModelKind.VAE_APPROX, name="xl-to-v1_interposer-v4.0.safetensors")
SDXL_PREVIEW = ModelFile(kind=ModelKind.VAE_APPROX, name="xlvaeapp.pth")
SD15_PREVIEW = ModelFile(kind=ModelKind.VAE_APPROX, name="vaeapp_sd15.pth")
IMAGE_ENCODER = ModelFile(kind=ModelKind.CLIP_VISION, name="clip_vision_vit_h.safetensors")
IP_ADAPTER = ModelFile(kind=ModelKind.CONTROLNET, name="ip-adapter-plus_sdxl_vit-h.bin")
IP_ADAPTER_FACE = ModelFile(kind=ModelKind.CONTROLNET, name="ip-adapter-plus-face_sdxl_vit-h.bin")
IP_NEGATIVE = ModelFile(kind=ModelKind.CONTROLNET, name="fooocus_ip_negative.safetensors")
CANNY_CONTROL = ModelFile(kind=ModelKind.CONTROLNET, name="control-lora-canny-rank128.safetensors")
CPDS_CONTROL = ModelFile(kind=ModelKind.CONTROLNET, name="fooocus_xl_cpds_128.safetensors")
FACE_FINDER = ModelFile(kind=ModelKind.CONTROLNET, name="detection_Resnet50_Final.pth")
# What reads control pictures, and what the pictures that are attended to; each in the order in
# which the kinds are applied.
CONTROL_FILES: Mapping[ControlKind, ModelFile] = MappingProxyType(
    {ControlKind.PYRA_CANNY: CANNY_CONTROL, ControlKind.CPDS: CPDS_CONTROL}
)
ADAPTER_FILES: Mapping[ControlKind, ModelFile] = MappingProxyType(
    {ControlKind.IMAGE_PROMPT: IP_ADAPTER, ControlKind.FACE_SWAP: IP_ADAPTER_FACE}
)
CAPTIONER = ModelFile(kind=ModelKind.CLIP_VISION, name="model_base_caption_capfilt_large.pth")
BERT_VOCABULARY = ModelFile(kind=ModelKind.CLIP_VISION, name="bert-base-uncased/vocab.txt")
TAGGER = ModelFile(kind=ModelKind.CLIP_VISION, name="wd-v1-4-moat-tagger-v2.onnx")
TAG_LIST = ModelFile(kind=ModelKind.CLIP_VISION, name="wd-v1-4-moat-tagger-v2.csv")
SAFETY_CHECKER = ModelFile(
    kind=ModelKind.SAFETY_CHECKER, name="stable-diffusion-safety-checker.bin"
)
INPAINT_HEAD = ModelFile(kind=ModelKind.INPAINT, name="fooocus_inpaint_head.pth")
GROUNDING_DINO = ModelFile(kind=ModelKind.INPAINT, name="groundingdino_swint_ogc.pth")
_SAM_FILES = {
    SamModel.VIT_B: "sam_vit_b_01ec64.pth",
    SamModel.VIT_L: "sam_vit_l_0b3195.pth",
    SamModel.VIT_H: "sam_vit_h_4b8939.pth",
}
_INPAINT_PATCHES = {
    InpaintEngine.V1: "inpaint.fooocus.patch",
    InpaintEngine.V2_5: "inpaint_v25.fooocus.patch",
    InpaintEngine.V2_6: "inpaint_v26.fooocus.patch",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """A file as its publisher offers it.

    Attributes:
        address: An https address that answers with the file.
        size: In bytes; ``None`` = not stated anywhere.
        size_is_exact: Whether a file of another size is certainly another file.
        licence: ``None`` = not stated where the file is offered.
        md5: Hexadecimal; ``None`` = not published.
    """

    file: ModelFile
    address: str
    size: int | None
    size_is_exact: bool
    licence: str | None
    md5: str | None


def inpaint_files(engine: InpaintEngine) -> tuple[ModelFile, ...]:
    """What an inpaint engine consists of: its head and its patch, or nothing."""
    patch = _INPAINT_PATCHES.get(engine)
    if patch is None:
        return ()
    return (INPAINT_HEAD, ModelFile(kind=ModelKind.INPAINT, name=patch))


def image_prompt_files(kind: ControlKind, control: ControlParams) -> tuple[ModelFile, ...]:
    """What a guiding picture of a kind needs, or what showing it needs if that is all."""
    is_shown = control.show_preprocessing
    if kind in CONTROL_FILES:
        return () if is_shown else (CONTROL_FILES[kind],)
    is_cropped = kind is ControlKind.FACE_SWAP and not control.skip_preprocessing
    return (
        IMAGE_ENCODER,
        *(() if is_shown else (ADAPTER_FILES[kind], IP_NEGATIVE)),
        *((FACE_FINDER,) if is_cropped else ()),
    )


def describe_files(kind: DescribeKind) -> tuple[ModelFile, ...]:
    """What describing a picture of a kind needs: a network and its words."""
    match kind:
        case DescribeKind.PHOTO:
            return (CAPTIONER, BERT_VOCABULARY)
        case DescribeKind.ANIME:
            return (TAGGER, TAG_LIST)


def sam_file(size: SamModel) -> ModelFile:
    """The file of a size of "segment anything"."""
    return ModelFile(kind=ModelKind.SAM, name=_SAM_FILES[size])


def foreground_file(model: MaskModel) -> ModelFile:
    """The file of a network that finds what stands out: of any mask model but SAM."""
    return ModelFile(kind=ModelKind.INPAINT, name=f"{model}.onnx")


def mask_files(params: MaskParams) -> tuple[ModelFile, ...]:
    """What a mask cannot be made without."""
    if params.model is not MaskModel.SAM:
        return (foreground_file(params.model),)
    finder = (GROUNDING_DINO, BERT_VOCABULARY)
    return finder if params.show_boxes else (*finder, sam_file(params.sam_model))


def enhance_files(asked: EnhanceParams) -> tuple[ModelFile, ...]:
    """What passes over finished pictures need beside the models; each file once.

    The upscaler counts as soon as there are regions: nearly all of them are small.
    """
    enlarges = asked.method.enlarges or bool(asked.regions)
    files = [UPSCALER] if enlarges else []
    for region in asked.regions:
        files += [*mask_files(region.mask), *inpaint_files(region.engine)]
    return tuple(dict.fromkeys(files))


def published_files() -> dict[ModelFile, PublishedFile]:
    """Every file that the features of Fooocus 2.5.5 use, and the models of its presets."""
    rows = json.loads(FILES_TABLE.read_text(encoding="utf-8"))
    files = [_published(row) for row in rows]
    return {entry.file: entry for entry in files}


def find_address(file: ModelFile, lists: DownloadLists) -> str | None:
    """The address of a file; ``None`` = nobody names one.

    Args:
        lists: What configuration and presets name; they win over the published files.
    """
    address = listed_files(lists).get(file)
    if address is not None:
        return address
    published = published_files().get(file)
    return published.address if published else None


def listed_files(lists: DownloadLists) -> dict[ModelFile, str]:
    """What configuration and presets name, with the addresses."""
    by_kind = {
        ModelKind.CHECKPOINT: lists.checkpoints,
        ModelKind.LORA: lists.loras,
        ModelKind.EMBEDDING: lists.embeddings,
        ModelKind.VAE: lists.vae,
    }
    return {
        ModelFile(kind=kind, name=name): address
        for kind, addresses in by_kind.items()
        for name, address in addresses.items()
    }


def _published(row: Mapping[str, object]) -> PublishedFile:
    size, licence, md5 = row["size"], row["licence"], row.get("md5")
    return PublishedFile(
        file=ModelFile(kind=ModelKind(str(row["kind"])), name=str(row["name"])),
        address=str(row["address"]),
        size=size if isinstance(size, int) else None,
        size_is_exact=bool(row["size_is_exact"]),
        licence=licence if isinstance(licence, str) else None,
        md5=md5 if isinstance(md5, str) else None,
    )
