"""Recorded whole generations: as parameters, as requests, and comparing their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fooocus_core.choices import (
    MetadataScheme,
    Performance,
    RefinerSwap,
    Sampler,
    Scheduler,
)
from fooocus_core.params import (
    CanvasParams,
    FreeUParams,
    GenerationParams,
    GuidanceParams,
    Lora,
    ModelParams,
    OutputParams,
    PromptParams,
    SamplingParams,
    Size,
)

TEXT_TO_IMAGE_JOBS = (
    "t2i_plain",
    "t2i_default30",
    "t2i_styles_2img",
    "t2i_lora",
    "overwrites",
    "perf_extreme_speed",
    "perf_lightning",
    "perf_hyper_sd",
    "refiner_joint",
    "refiner_joint_switch5",
    "refiner_sd15_vae_swap",
)

MAX_LEVEL = 2
MEAN_LEVEL = 0.1


def _given(number: int) -> int | None:
    return number if number > 0 else None


def params_of_job(job: dict[str, Any]) -> GenerationParams:
    """The parameters of a recorded text-to-image job."""
    args = job["args"]
    width, height = map(int, args["aspect"].split("×"))
    freeu = args["freeu"]
    return GenerationParams(
        prompt=PromptParams(
            positive=args["prompt"],
            negative=args["negative_prompt"],
            styles=tuple(args["style_selections"]),
            wildcards_in_order=args["read_wildcards_in_order"],
        ),
        models=ModelParams(
            base=args["base"],
            refiner=None if args["refiner"] == "None" else args["refiner"],
            refiner_switch=args["refiner_switch"],
            refiner_swap=RefinerSwap(args["swap"]),
            loras=tuple(Lora(name=name, weight=weight) for name, weight in args["loras"]),
            vae=None if args["vae"] == "Default (model)" else args["vae"],
            clip_skip=args["clip_skip"],
        ),
        canvas=CanvasParams(
            size=Size(width, height),
            forced_width=_given(args["overwrite_width"]),
            forced_height=_given(args["overwrite_height"]),
            count=args["image_number"],
            seed=args["seed"],
            same_seed=args["disable_seed_increment"],
        ),
        sampling=SamplingParams(
            performance=Performance(args["performance"]),
            sampler=Sampler(args["sampler"]),
            scheduler=Scheduler(args["scheduler"]),
            steps=_given(args["overwrite_step"]),
            switch_step=_given(args["overwrite_switch"]),
        ),
        guidance=GuidanceParams(
            scale=args["cfg_scale"],
            adaptive_scale=args["adaptive_cfg"],
            sharpness=args["sharpness"],
            size_scale_positive=args["adm_positive"],
            size_scale_negative=args["adm_negative"],
            size_scale_end=args["adm_end"],
        ),
        freeu=FreeUParams(b1=freeu[0], b2=freeu[1], s1=freeu[2], s2=freeu[3]) if freeu else None,
        output=OutputParams(metadata=MetadataScheme(args["metadata_scheme"])),
    )


def request_of_job(job: dict[str, Any]) -> dict[str, Any]:
    """The JSON body that asks for a recorded text-to-image job over HTTP; every value is stated."""
    args = job["args"]
    freeu = dict(
        zip(("freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2"), args["freeu"] or (), strict=False)
    )
    return {
        "prompt": args["prompt"],
        "negative_prompt": args["negative_prompt"],
        "style_selections": args["style_selections"],
        "performance_selection": args["performance"],
        "aspect_ratios_selection": args["aspect"].replace("×", "*"),
        "image_number": args["image_number"],
        "image_seed": str(args["seed"]),
        "sharpness": args["sharpness"],
        "guidance_scale": args["cfg_scale"],
        "base_model_name": args["base"],
        "refiner_model_name": args["refiner"],
        "refiner_switch": args["refiner_switch"],
        "loras": [{"model_name": name, "weight": weight} for name, weight in args["loras"]],
        "read_wildcards_in_order": args["read_wildcards_in_order"],
        "meta_scheme": args["metadata_scheme"],
        "advanced_params": {
            "disable_seed_increment": args["disable_seed_increment"],
            "adm_scaler_positive": args["adm_positive"],
            "adm_scaler_negative": args["adm_negative"],
            "adm_scaler_end": args["adm_end"],
            "adaptive_cfg": args["adaptive_cfg"],
            "clip_skip": args["clip_skip"],
            "sampler_name": args["sampler"],
            "scheduler_name": args["scheduler"],
            "vae_name": args["vae"],
            "overwrite_step": args["overwrite_step"],
            "overwrite_switch": args["overwrite_switch"],
            "overwrite_width": args["overwrite_width"],
            "overwrite_height": args["overwrite_height"],
            "refiner_swap_method": args["swap"],
            "freeu_enabled": args["freeu"] is not None,
            **freeu,
        },
    }


def assert_same_picture(made: NDArray[np.uint8], recorded: Path) -> None:
    """Assert that a picture equals a recorded one, up to rounding noise."""
    with Image.open(recorded) as file:
        expected = np.asarray(file.convert("RGB"))
    assert made.shape == expected.shape
    difference = np.abs(made.astype(np.int16) - expected.astype(np.int16))
    assert difference.max() <= MAX_LEVEL
    assert difference.mean() <= MEAN_LEVEL
