"""What is asked for: one frozen value per generation, in the pipeline's own words.

Pictures are uint8 RGB arrays (H, W, 3); ``None`` means "not given". Holds no tensors and no HTTP
spellings, and checks only what would make a value meaningless.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fooocus_core.choices import (
    ClothCategory,
    ControlKind,
    EnhanceOrder,
    EnhancePrompt,
    InpaintEngine,
    MaskModel,
    MetadataScheme,
    Performance,
    RefinerSwap,
    SamModel,
    Sampler,
    Scheduler,
    Side,
    UpscaleVaryMethod,
)

Image = NDArray[np.uint8]


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptParams:
    """The texts of a request and what is done to them."""

    positive: str = ""
    negative: str = ""
    styles: tuple[str, ...] = ()
    wildcards_in_order: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A LoRA file by its catalog name, and its weight."""

    name: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParams:
    """Which files draw the picture; names as the catalog lists them.

    Attributes:
        refiner_switch: Share of the steps after which the refiner takes over, 0.0-1.0.
        vae: ``None`` uses the VAE of the base checkpoint.
        clip_skip: 1 = output of the last text encoder layer, 2 = the one before, ...
    """

    base: str
    refiner: str | None = None
    refiner_switch: float = 0.5
    refiner_swap: RefinerSwap = RefinerSwap.JOINT
    loras: tuple[Lora, ...] = ()
    vae: str | None = None
    clip_skip: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasParams:
    """How large, how many, and from which seed.

    Attributes:
        size: Size of a blank start, in pixels; an image workflow chooses its own.
        forced_width, forced_height: Win over ``size``.
        count: Number of pictures, at least 1.
        seed: Seed of the first picture, 0..2^63-1; picture i uses (seed + i) mod 2^63.
        same_seed: Use ``seed`` for every picture instead.
    """

    size: Size = Size(1152, 896)
    forced_width: int | None = None
    forced_height: int | None = None
    count: int = 1
    seed: int = 0
    same_seed: bool = False

    def __post_init__(self) -> None:
        if min(self.size) <= 0 or self.count < 1 or self.seed < 0:
            raise ValueError("size, count and seed must not be negative")

    @property
    def final_size(self) -> Size:
        """Size of a blank start with what is forced, in pixels."""
        width, height = self.size
        return Size(self.forced_width or width, self.forced_height or height)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """Step count and algorithm.

    Attributes:
        steps: Wins over the number of steps of the performance mode.
        switch_step: Wins over the refiner step derived from ``refiner_switch``.
    """

    performance: Performance = Performance.SPEED
    sampler: Sampler = Sampler.DPMPP_2M_SDE_GPU
    scheduler: Scheduler = Scheduler.KARRAS
    steps: int | None = None
    switch_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidanceParams:
    """How strongly the prompt steers.

    Attributes:
        scale: Guidance scale; 1.0 evaluates the positive side only.
        adaptive_scale: Scale at the first step, eased out as the run advances (if below ``scale``).
        sharpness: Strength of the sharpness filter, 0 = off.
        size_scale_positive, size_scale_negative: Factors on the size the UNet is told.
        size_scale_end: Share of the timesteps (from the noisy end) during which they apply.
    """

    scale: float = 4.0
    adaptive_scale: float = 7.0
    sharpness: float = 2.0
    size_scale_positive: float = 1.5
    size_scale_negative: float = 0.8
    size_scale_end: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlParams:
    """Options common to all guiding pictures."""

    softness: float = 0.25
    canny_low: int = 64
    canny_high: int = 128
    skip_preprocessing: bool = False
    show_preprocessing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeUParams:
    """Scales of FreeU version 2; 1.0 each is neutral."""

    b1: float = 1.01
    b2: float = 1.02
    s1: float = 0.99
    s2: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class UpscaleVaryParams:
    """A picture to vary or enlarge.

    Attributes:
        factor: Only for ``UPSCALE_CUSTOM``.
        vary_strength, upscale_strength: Win over the denoising strength of the method.
    """

    image: Image
    method: UpscaleVaryMethod
    factor: float | None = None
    vary_strength: float | None = None
    upscale_strength: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """One side to extend, and by how many pixels (``None`` = the default share)."""

    side: Side
    pixels: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InpaintParams:
    """A picture with a hole to fill, or with sides to extend.

    Attributes:
        mask: uint8 (H, W, 3), white = repaint.
        grow: Pixels to dilate (positive) or erode (negative) the mask by.
        field: Share of the picture around the hole that is worked on, 0.0-1.0.
        from_noise: Start without the encoded picture.
    """

    image: Image
    mask: Image | None = None
    invert: bool = False
    grow: int = 0
    extend: tuple[Extension, ...] = ()
    prompt: str = ""
    engine: InpaintEngine = InpaintEngine.V2_6
    strength: float = 1.0
    from_noise: bool = False
    field: float = 1.0
    show_mask: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePrompt:
    """A guiding picture.

    Attributes:
        stop: Share of the run during which it guides, 0.0-1.0.
        weight: 0.0-2.0.
    """

    image: Image
    kind: ControlKind
    stop: float
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskParams:
    """How a mask is found in a picture.

    Attributes:
        cloth_category: Only for ``U2NET_CLOTH_SEG``.
        prompt: What to look for; like all that follow, only for ``SAM``.
        box_threshold: How likely, 0.0-1.0, a box has to be.
        text_threshold: Of the labels of boxes, 0.0-1.0, which are not part of a mask.
        max_detections: How many boxes count, the first ones; 0 = all.
        grow_boxes: Pixels to move each side of a box outwards (positive) or inwards.
        show_boxes: The boxes themselves are the mask.
    """

    model: MaskModel = MaskModel.SAM
    cloth_category: ClothCategory = ClothCategory.FULL
    prompt: str = ""
    sam_model: SamModel = SamModel.VIT_B
    box_threshold: float = 0.3
    text_threshold: float = 0.25
    max_detections: int = 0
    grow_boxes: float = 0.0
    show_boxes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnhanceRegion:
    """One region of an enhancement run: how it is found, and how it is painted again.

    Attributes:
        prompt, negative_prompt: If blank, those of the request.
        grow: Pixels to dilate (positive) or erode (negative) the mask by.
        field: Share of the picture around the region that is worked on, 0.0-1.0.
        invert: Paint everything else instead.
        from_noise: Start without the encoded picture.
    """

    mask: MaskParams
    prompt: str = ""
    negative_prompt: str = ""
    engine: InpaintEngine = InpaintEngine.V2_6
    strength: float = 1.0
    field: float = 0.618
    grow: int = 0
    invert: bool = False
    from_noise: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnhanceParams:
    """Further passes over finished pictures.

    Attributes:
        image: Worked on instead of generated pictures: none are made then, and what else is asked
            for pictures does not count; ``None`` = each generated picture is worked on.
        method: How the whole picture is varied or enlarged.
        vary_strength, upscale_strength: Win over the denoising strength of the method.
        prompt_source: Only for the order ``AFTER_LAST``.
        regions: Found and painted one after the other, each in what the one before has made.
        final_only: Hand over the last picture of each run, not those on the way to it.
        show_masks: Hand over the mask of each region as well.
    """

    image: Image | None = None
    method: UpscaleVaryMethod = UpscaleVaryMethod.DISABLED
    vary_strength: float | None = None
    upscale_strength: float | None = None
    order: EnhanceOrder = EnhanceOrder.BEFORE_FIRST
    prompt_source: EnhancePrompt = EnhancePrompt.ORIGINAL
    regions: tuple[EnhanceRegion, ...] = ()
    final_only: bool = True
    show_masks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputParams:
    """What is done with finished pictures, and what is shown on the way.

    Attributes:
        metadata: Scheme of the record written into the picture; ``None`` = no record.
        censor: Whether pictures that are not safe for work become black.
    """

    metadata: MetadataScheme | None = MetadataScheme.FOOOCUS
    previews: bool = True
    censor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationParams:
    """Everything that is asked of one generation."""

    models: ModelParams
    prompt: PromptParams = field(default_factory=PromptParams)
    canvas: CanvasParams = field(default_factory=CanvasParams)
    sampling: SamplingParams = field(default_factory=SamplingParams)
    guidance: GuidanceParams = field(default_factory=GuidanceParams)
    control: ControlParams = field(default_factory=ControlParams)
    freeu: FreeUParams | None = None
    upscale_vary: UpscaleVaryParams | None = None
    inpaint: InpaintParams | None = None
    image_prompts: tuple[ImagePrompt, ...] = ()
    enhance: EnhanceParams | None = None
    output: OutputParams = field(default_factory=OutputParams)
