"""Pieces shared by all generation requests: field types, Lora, AdvancedParams, common fields.

Decides types and ranges only; what is tolerated with a warning is decided in ``translate.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import httpx
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from fooocus_core.choices import (
    ClothCategory,
    ControlKind,
    DescribeKind,
    EnhanceOrder,
    EnhancePrompt,
    MaskModel,
    Performance,
    SamModel,
    Side,
    UpscaleVaryMethod,
)
from fooocusapi.schemas.pictures import ImageValue, PictureField
from fooocusapi.schemas.vocabulary import PLACEHOLDERS, MetaScheme, SaveExtension, WebhookEvent

MAX_SEED = 2**63 - 1
MIN_SIDE, MAX_SIDE = 64, 4096
MAX_PROMPT_CHARACTERS = 100_000
# The network that reads such a text looks at its first 256 tokens.
MAX_MASK_TEXT_CHARACTERS = 2000
MAX_STYLES = 300
MAX_DISTANCE = 4096
_MAX_SIDES = 100
_MAX_EVENTS = 100
_MAX_IMAGE_PROMPTS = 100
_MAX_REGIONS = 100
_MAX_ADDRESS_CHARACTERS = 8000
_MAX_PORT = 65_535
_MAX_SEED_DIGITS = len(str(MAX_SEED))
_NUMBER = re.compile(r"[+-]?0*(?P<digits>[0-9]+)(?P<rest>(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)")
_SIZE = re.compile(r"^\s*([0-9]{1,9})\s*[*xX×]\s*([0-9]{1,9})(?![0-9])")
_UNSAFE_NAME = re.compile(r"[\x00-\x1f\x7f]|^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)")
_MAX_NAME_BYTES = 400
_MIXED = "Needs not be said: what is given together is mixed."


def _refuse_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is wanted, not a boolean")
    return value


def _refuse_surrogates(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("the text holds a lone surrogate, which is not a character") from error
    return value


def _read_seed(value: object) -> object:
    """The seed, or -1 where the value is empty or certainly no number up to ``MAX_SEED``."""
    if isinstance(value, float) and abs(value) > MAX_SEED:
        return -1
    if isinstance(value, str) and (not value.strip() or _is_beyond_seeds(value.strip())):
        return -1
    return _refuse_boolean(value)


def _is_beyond_seeds(text: str) -> bool:
    number = _NUMBER.fullmatch(text)
    if number is None:
        return False
    if number["rest"]:
        return abs(float(text)) > MAX_SEED
    # Counted, because Python refuses to read whole numbers of some thousand digits.
    return len(number["digits"]) > _MAX_SEED_DIGITS


def _bound_seed(value: int) -> int:
    return value if 0 <= value <= MAX_SEED else -1


def _nothing_if_empty(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _split_at_commas(value: object) -> object:
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        return value
    return [piece.strip() for part in parts for piece in part.split(",") if piece.strip()]


def _in_any_case(kind: type[StrEnum]) -> BeforeValidator:
    spellings = {member.casefold(): member for member in kind}

    def match(value: object) -> object:
        if not isinstance(value, str):
            return value
        return spellings.get(value.strip().casefold(), value)

    return BeforeValidator(match)


def _check_name(value: str) -> str:
    if _UNSAFE_NAME.search(value) or len(value.encode()) > _MAX_NAME_BYTES:
        raise ValueError(
            "not the name of a model file: a name is relative to its model folder, as "
            "/v1/engines/all-models lists it, without '..', drive letters or a leading slash"
        )
    return value


def parse_size(text: str) -> tuple[int, int]:
    """Read ``W*H`` (also ``x`` or ``×``); text after it is ignored.

    Returns:
        Width and height in pixels, each 64-4096.

    Raises:
        ValueError: The text has another form or a side is out of range.
    """
    match = _SIZE.match(text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise ValueError(
            f"a size 'width*height' is wanted, each side {MIN_SIDE} to {MAX_SIDE} pixels, "
            "e.g. '1152*896'"
        )
    return width, height


def webhook_target(text: str, *, may_hold_password: bool = False) -> str | None:
    """The address a webhook goes to; ``None`` for a text that is no http(s) address.

    Args:
        may_hold_password: Whether ``user:password@`` may stand in front of the host.
    """
    if len(text) > _MAX_ADDRESS_CHARACTERS:
        return None
    try:
        # Read by what sends it later, so that nothing is accepted here that fails there.
        url = httpx.URL(text)
        is_address = url.scheme in ("http", "https") and bool(url.host)
        if url.port is not None and not 0 < url.port <= _MAX_PORT:
            return None
        return text if is_address and (may_hold_password or not url.userinfo) else None
    except (ValueError, httpx.InvalidURL):
        return None


def _check_size(value: str) -> str:
    parse_size(value)
    return value


def _check_forced_side(value: int) -> int:
    if 0 < value < MIN_SIDE:
        raise ValueError(f"-1 or 0 (off), or {MIN_SIDE} to 2048 pixels is wanted")
    return value


Integer = Annotated[int, BeforeValidator(_refuse_boolean)]
Number = Annotated[float, BeforeValidator(_refuse_boolean)]
OptionalNumber = Annotated[Number | None, BeforeValidator(_nothing_if_empty)]
Text = Annotated[str, AfterValidator(_refuse_surrogates)]
PromptText = Annotated[
    str, Field(max_length=MAX_PROMPT_CHARACTERS), AfterValidator(_refuse_surrogates)
]
ModelName = Annotated[Text, AfterValidator(_check_name)]
SizeText = Annotated[
    Text,
    AfterValidator(_check_size),
    WithJsonSchema({"type": "string", "pattern": _SIZE.pattern.partition("(?!")[0]}),
]
Seed = Annotated[int, BeforeValidator(_read_seed), AfterValidator(_bound_seed)]
Extension = Annotated[SaveExtension, BeforeValidator(_lower)]
StyleNames = Annotated[list[Text], BeforeValidator(_split_at_commas), Field(max_length=MAX_STYLES)]
ForcedSide = Annotated[Integer, Field(ge=-1, le=2048), AfterValidator(_check_forced_side)]
ScalerFactor = Annotated[Number, Field(ge=0.1, le=3.0)]
Share = Annotated[Number, Field(ge=0.0, le=1.0)]
Strength = Annotated[Number, Field(ge=-1.0, le=1.0)]
CannyThreshold = Annotated[Integer, Field(ge=1, le=255)]
MaskGrowth = Annotated[Integer, Field(ge=-64, le=64)]
MaskText = Annotated[
    str, Field(max_length=MAX_MASK_TEXT_CHARACTERS), AfterValidator(_refuse_surrogates)
]
MethodName = Annotated[UpscaleVaryMethod, _in_any_case(UpscaleVaryMethod)]
EnhanceOrderName = Annotated[EnhanceOrder, _in_any_case(EnhanceOrder)]
EnhancePromptName = Annotated[EnhancePrompt, _in_any_case(EnhancePrompt)]
ControlKindName = Annotated[ControlKind, _in_any_case(ControlKind)]
DescribeKindName = Annotated[DescribeKind, _in_any_case(DescribeKind)]
SideNames = Annotated[
    list[Annotated[Side, _in_any_case(Side)]],
    Field(max_length=_MAX_SIDES),
    BeforeValidator(_split_at_commas),
]
WebhookEvents = Annotated[
    list[Annotated[WebhookEvent, _in_any_case(WebhookEvent)]],
    Field(max_length=_MAX_EVENTS),
    BeforeValidator(_split_at_commas),
]
Distance = Annotated[
    Integer, Field(le=MAX_DISTANCE, description="In pixels; 0 or less: three tenths of the side.")
]


def configured(documented: object, **extra: Any) -> Any:
    """A field whose default comes from the configuration; ``documented`` is its usual value."""
    return Field(default=None, json_schema_extra={"default": documented}, **extra)  # type: ignore[dict-item]


class RequestModel(BaseModel):
    """A JSON object: unknown keys are ignored and an explicit null means "not given"."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None}


class Lora(RequestModel):
    """A LoRA file and how strongly it is applied."""

    enabled: bool = True
    model_name: ModelName = Field(default="None", description="A name of all-models, or `None`.")
    weight: Number = Field(default=0.5, ge=-2.0, le=2.0)


class ImagePrompt(RequestModel):
    """A picture that guides; an entry without one is passed over."""

    # Unknown keys are kept, not used: ``field_names.py`` tells of those that look misspelt.
    model_config = ConfigDict(extra="allow")

    cn_img: ImageValue = None
    cn_stop: OptionalNumber = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description=(
            "Share of the steps during which it guides. Nothing or 0: the usual one of its kind, "
            "0.5, or 0.9 for `FaceSwap`."
        ),
    )
    cn_weight: OptionalNumber = Field(
        default=None,
        ge=0.0,
        le=2.0,
        description=(
            "How strongly it guides. Nothing or 0: the usual one of its kind, 0.6 for "
            "`ImagePrompt`, 0.75 for `FaceSwap`, 1.0 for `PyraCanny` and `CPDS`."
        ),
    )
    cn_type: ControlKindName = ControlKind.IMAGE_PROMPT


ImagePrompts = Annotated[list[ImagePrompt], Field(max_length=_MAX_IMAGE_PROMPTS)]


class EnhanceRegion(RequestModel):
    """A region of a picture: how it is found, and how it is painted again."""

    # Unknown keys are kept, not used: ``field_names.py`` tells of those that look misspelt.
    model_config = ConfigDict(extra="allow")

    enhance_enabled: bool = Field(default=False, description="Whether the region is used.")
    enhance_mask_dino_prompt: MaskText = Field(
        default="face", description="What to look for, with the mask model `sam`."
    )
    enhance_prompt: PromptText = Field(default="", description="Blank: the prompt.")
    enhance_negative_prompt: PromptText = Field(
        default="", description="Blank: the negative prompt."
    )
    enhance_mask_model: MaskModel = MaskModel.SAM
    enhance_mask_cloth_category: ClothCategory = Field(
        default=ClothCategory.FULL, description="Only for `u2net_cloth_seg`."
    )
    enhance_mask_sam_model: SamModel = SamModel.VIT_B
    enhance_mask_text_threshold: Share = Field(
        default=0.25, description="Of the labels of boxes, which are not part of a mask."
    )
    enhance_mask_box_threshold: Share = 0.3
    enhance_mask_sam_max_detections: Integer = Field(default=0, ge=0, le=10, description="0 = all.")
    enhance_inpaint_disable_initial_latent: bool = False
    enhance_inpaint_engine: Text | None = configured("v2.6")
    enhance_inpaint_strength: Share = 1.0
    enhance_inpaint_respective_field: Share = 0.618
    enhance_inpaint_erode_or_dilate: Number = Field(
        default=0, ge=-64, le=64, description="Pixels to grow the mask by; only whole ones count."
    )
    enhance_mask_invert: bool = False


class EnhanceRegionV1(EnhanceRegion):
    """A region as forms state it: what to look for has to be said."""

    enhance_mask_dino_prompt: MaskText = Field(
        default="", description="What to look for, with the mask model `sam`."
    )


EnhanceRegions = Annotated[list[EnhanceRegion], Field(max_length=_MAX_REGIONS)]
EnhanceRegionsV1 = Annotated[list[EnhanceRegionV1], Field(max_length=_MAX_REGIONS)]


class AdvancedParams(RequestModel):
    """Options that are seldom changed."""

    # Unknown keys are kept, not used: ``field_names.py`` tells of those that look misspelt.
    model_config = ConfigDict(extra="allow")

    disable_preview: bool = False
    disable_intermediate_results: bool = False
    disable_seed_increment: bool = False
    adm_scaler_positive: ScalerFactor = 1.5
    adm_scaler_negative: ScalerFactor = 0.8
    adm_scaler_end: Share = 0.3
    refiner_swap_method: Text = Field(default="joint", description="joint, separate or vae.")
    adaptive_cfg: Number | None = configured(7.0, ge=1.0, le=30.0)
    clip_skip: Integer | None = configured(2, ge=1, le=12)
    sampler_name: Text | None = configured("dpmpp_2m_sde_gpu")
    scheduler_name: Text | None = configured("karras")
    vae_name: ModelName | None = configured("Default (model)")
    overwrite_step: Integer | None = configured(-1, ge=-1, le=200)
    overwrite_switch: Number | None = configured(-1, ge=-1, le=200)
    overwrite_width: ForcedSide = -1
    overwrite_height: ForcedSide = -1
    overwrite_vary_strength: Strength = -1.0
    overwrite_upscale_strength: Strength | None = configured(-1.0)
    mixing_image_prompt_and_vary_upscale: bool = Field(default=False, description=_MIXED)
    mixing_image_prompt_and_inpaint: bool = Field(default=False, description=_MIXED)
    debugging_cn_preprocessor: bool = False
    skipping_cn_preprocessor: bool = False
    canny_low_threshold: CannyThreshold = 64
    canny_high_threshold: CannyThreshold = 128
    controlnet_softness: Share = 0.25
    freeu_enabled: bool = False
    freeu_b1: Number = 1.01
    freeu_b2: Number = 1.02
    freeu_s1: Number = 0.99
    freeu_s2: Number = 0.95
    debugging_inpaint_preprocessor: bool = False
    inpaint_disable_initial_latent: bool = False
    inpaint_engine: Text | None = configured("v2.6")
    inpaint_strength: Share = 1.0
    inpaint_respective_field: Share = 1.0
    inpaint_advanced_masking_checkbox: bool = Field(
        default=True,
        validation_alias=AliasChoices(
            "inpaint_advanced_masking_checkbox", "inpaint_mask_upload_checkbox"
        ),
    )
    invert_mask_checkbox: bool = False
    inpaint_erode_or_dilate: MaskGrowth = 0
    black_out_nsfw: bool = False
    debugging_dino: bool = False
    dino_erode_or_dilate: MaskGrowth = 0
    debugging_enhance_masks_checkbox: bool = False


class GenerationRequest(RequestModel):
    """The fields that every generation endpoint takes."""

    # Unknown keys are kept, not used: ``field_names.py`` tells of those that look misspelt.
    model_config = ConfigDict(extra="allow")

    prompt: PromptText | None = configured("")
    negative_prompt: PromptText | None = configured("")
    style_selections: StyleNames | None = configured(
        ["Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"],
        description="Names of /v1/engines/styles; an empty list means no styles.",
    )
    performance_selection: Performance | None = configured("Speed")
    aspect_ratios_selection: SizeText | None = configured("1152*896")
    image_number: Integer = Field(default=1, ge=1, le=32)
    image_seed: Seed = Field(default=-1, description="Negative or too large: a random seed.")
    sharpness: Number | None = configured(2.0, ge=0.0, le=30.0)
    guidance_scale: Number | None = configured(4.0, ge=1.0, le=30.0)
    base_model_name: ModelName | None = configured("juggernautXL_v8Rundiffusion.safetensors")
    refiner_model_name: ModelName | None = configured("None")
    refiner_switch: Number | None = configured(0.5, ge=0.1, le=1.0)
    loras: list[Lora] | None = configured(
        [{"model_name": "sd_xl_offset_example-lora_1.0.safetensors", "weight": 0.1}]
    )
    advanced_params: AdvancedParams = Field(default_factory=AdvancedParams)
    save_meta: bool = True
    meta_scheme: MetaScheme = MetaScheme.FOOOCUS
    save_extension: Extension = SaveExtension.PNG
    save_name: Text = ""
    read_wildcards_in_order: bool = False
    require_base64: bool = False
    async_process: bool = False
    webhook_url: Text = ""
    webhook_events_filter: WebhookEvents = Field(
        default_factory=lambda: [WebhookEvent.COMPLETED],
        description="What is told; nothing: the end alone, which is `completed`.",
    )
    cancel_on_disconnect: bool | None = Field(
        default=None,
        description="Cancel the job if the caller hangs up while waiting; else as the server says.",
    )

    def picture_fields(self) -> Iterator[PictureField]:
        """Where pictures stand in this request; those that guide aside."""
        return iter(())

    @model_validator(mode="before")
    @classmethod
    def _drop_placeholder(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        advanced = data.get("advanced_params")
        if isinstance(advanced, str) and advanced in PLACEHOLDERS:
            return {key: value for key, value in data.items() if key != "advanced_params"}
        return data
