"""Closed vocabularies of the pipeline; the public string is the value of each member.

Knows no defaults and no HTTP spellings.
"""

from __future__ import annotations

from enum import StrEnum


class Performance(StrEnum):
    """How much work a picture gets; see ``performance.py`` for what each mode sets."""

    QUALITY = "Quality"
    SPEED = "Speed"
    EXTREME_SPEED = "Extreme Speed"
    LIGHTNING = "Lightning"
    HYPER_SD = "Hyper-SD"


class Sampler(StrEnum):
    """Samplers, in the order in which the reference lists them."""

    EULER = "euler"
    EULER_ANCESTRAL = "euler_ancestral"
    HEUN = "heun"
    HEUNPP2 = "heunpp2"
    DPM_2 = "dpm_2"
    DPM_2_ANCESTRAL = "dpm_2_ancestral"
    LMS = "lms"
    DPM_FAST = "dpm_fast"
    DPM_ADAPTIVE = "dpm_adaptive"
    DPMPP_2S_ANCESTRAL = "dpmpp_2s_ancestral"
    DPMPP_SDE = "dpmpp_sde"
    DPMPP_SDE_GPU = "dpmpp_sde_gpu"
    DPMPP_2M = "dpmpp_2m"
    DPMPP_2M_SDE = "dpmpp_2m_sde"
    DPMPP_2M_SDE_GPU = "dpmpp_2m_sde_gpu"
    DPMPP_3M_SDE = "dpmpp_3m_sde"
    DPMPP_3M_SDE_GPU = "dpmpp_3m_sde_gpu"
    DDPM = "ddpm"
    LCM = "lcm"
    TCD = "tcd"
    RESTART = "restart"
    DDIM = "ddim"
    UNI_PC = "uni_pc"
    UNI_PC_BH2 = "uni_pc_bh2"


class Scheduler(StrEnum):
    """Noise schedules, in the order in which the reference lists them."""

    NORMAL = "normal"
    KARRAS = "karras"
    EXPONENTIAL = "exponential"
    SGM_UNIFORM = "sgm_uniform"
    SIMPLE = "simple"
    DDIM_UNIFORM = "ddim_uniform"
    LCM = "lcm"
    TURBO = "turbo"
    ALIGN_YOUR_STEPS = "align_your_steps"
    TCD = "tcd"
    EDM_PLAYGROUND = "edm_playground_v2.5"


class RefinerSwap(StrEnum):
    """How the refiner takes over from the base model."""

    JOINT = "joint"
    SEPARATE = "separate"
    VAE = "vae"


class UpscaleVaryMethod(StrEnum):
    """What to do with a picture that is varied or enlarged."""

    DISABLED = "Disabled"
    VARY_SUBTLE = "Vary (Subtle)"
    VARY_STRONG = "Vary (Strong)"
    UPSCALE_15 = "Upscale (1.5x)"
    UPSCALE_2 = "Upscale (2x)"
    UPSCALE_FAST_2 = "Upscale (Fast 2x)"
    UPSCALE_CUSTOM = "Upscale (Custom)"

    @property
    def enlarges(self) -> bool:
        """Whether the upscaling network is used."""
        method = UpscaleVaryMethod
        return self not in (method.DISABLED, method.VARY_SUBTLE, method.VARY_STRONG)


class Side(StrEnum):
    """Sides of a picture that can be extended."""

    LEFT = "Left"
    RIGHT = "Right"
    TOP = "Top"
    BOTTOM = "Bottom"


class InpaintEngine(StrEnum):
    """Versions of the inpaint model patch."""

    NONE = "None"
    V1 = "v1"
    V2_5 = "v2.5"
    V2_6 = "v2.6"


class ControlKind(StrEnum):
    """What a guiding picture steers."""

    IMAGE_PROMPT = "ImagePrompt"
    FACE_SWAP = "FaceSwap"
    PYRA_CANNY = "PyraCanny"
    CPDS = "CPDS"


class DescribeKind(StrEnum):
    """What a picture is taken for when it is described."""

    PHOTO = "Photo"
    ANIME = "Anime"


class MaskModel(StrEnum):
    """Networks that make masks."""

    U2NET = "u2net"
    U2NETP = "u2netp"
    U2NET_HUMAN_SEG = "u2net_human_seg"
    U2NET_CLOTH_SEG = "u2net_cloth_seg"
    SILUETA = "silueta"
    ISNET_GENERAL_USE = "isnet-general-use"
    ISNET_ANIME = "isnet-anime"
    SAM = "sam"


class ClothCategory(StrEnum):
    """Garments that ``u2net_cloth_seg`` can tell apart."""

    FULL = "full"
    UPPER = "upper"
    LOWER = "lower"


class SamModel(StrEnum):
    """Sizes of the segment-anything model."""

    VIT_B = "vit_b"
    VIT_L = "vit_l"
    VIT_H = "vit_h"


class EnhanceOrder(StrEnum):
    """When an enhancement run varies or upscales."""

    BEFORE_FIRST = "Before First Enhancement"
    AFTER_LAST = "After Last Enhancement"


class EnhancePrompt(StrEnum):
    """Which prompt the vary or upscale pass of an enhancement run uses."""

    ORIGINAL = "Original Prompts"
    LAST_FILLED = "Last Filled Enhancement Prompts"


class MetadataScheme(StrEnum):
    """Text formats of the record written into a picture."""

    FOOOCUS = "fooocus"
    A1111 = "a1111"


EXPANSION_STYLE = "Fooocus V2"
RANDOM_STYLE = "Random Style"
DEFAULT_VAE = "Default (model)"
