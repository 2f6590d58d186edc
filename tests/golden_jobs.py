"""Recorded whole generations: as parameters, as requests, and comparing their pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fooocus_core.choices import (
    ControlKind,
    EnhanceOrder,
    EnhancePrompt,
    InpaintEngine,
    MetadataScheme,
    Performance,
    RefinerSwap,
    Sampler,
    Scheduler,
    Side,
    UpscaleVaryMethod,
)
from fooocus_core.params import (
    CanvasParams,
    ControlParams,
    EnhanceParams,
    Extension,
    FreeUParams,
    GenerationParams,
    GuidanceParams,
    ImagePrompt,
    InpaintParams,
    Lora,
    ModelParams,
    OutputParams,
    PromptParams,
    SamplingParams,
    Size,
    UpscaleVaryParams,
)
from fooocus_core.performance import MODES
from fooocus_core.plan import picture_seeds
from fooocus_core.prompt.compose import ComposedPrompt, LoraChoice, compose_prompts
from fooocus_core.prompt.styles import load_styles
from fooocus_core.prompt.wildcards import Wildcards
from tests.golden import GOLDEN, load_json
from tests.pictures import as_base64, recorded_input

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
    "expansion",
)

RECORDED_JOBS = tuple(sorted(folder.name for folder in (GOLDEN / "jobs").iterdir()))
# The only one without texts: it makes its picture without diffusion.
PICTURES_WITH_TEXTS = tuple(
    (name, image)
    for name in RECORDED_JOBS
    if name != "upscale_fast"
    for image in range(len(load_json(f"jobs/{name}/job")["images"]))
)

UPSCALE_VARY_JOBS = ("vary_subtle", "upscale_15", "upscale_fast")
INPAINT_JOBS = ("inpaint_v26", "outpaint_left_top")
IMAGE_PROMPT_JOBS = ("image_prompt", "pyracanny", "mix_ip_inpaint")

MAX_LEVEL = 2
MEAN_LEVEL = 0.1


def _given(number: int) -> int | None:
    return number if number > 0 else None


def params_of_job(job: dict[str, Any]) -> GenerationParams:
    """The parameters of a recorded job."""
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
        control=ControlParams(
            softness=args["controlnet_softness"],
            canny_low=args["canny_low"],
            canny_high=args["canny_high"],
            skip_preprocessing=args["skipping_cn"],
            show_preprocessing=args["debugging_cn"],
        ),
        freeu=FreeUParams(b1=freeu[0], b2=freeu[1], s1=freeu[2], s2=freeu[3]) if freeu else None,
        upscale_vary=_upscale_vary(args) if args["uov_image"] else None,
        inpaint=_inpaint(args) if args["inpaint_image"] else None,
        image_prompts=tuple(
            ImagePrompt(image=read_input(name), kind=ControlKind(kind), stop=stop, weight=weight)
            for name, stop, weight, kind in args["cn"]
        ),
        enhance=_enhance(args) if args.get("enhance") else None,
        output=OutputParams(metadata=MetadataScheme(args["metadata_scheme"])),
    )


def read_input(name: str) -> NDArray[np.uint8]:
    """One of the recording's input pictures, RGB."""
    with Image.open(GOLDEN / "inputs" / f"{name}.png") as file:
        return np.asarray(file.convert("RGB"))


def _upscale_vary(args: dict[str, Any]) -> UpscaleVaryParams:
    return UpscaleVaryParams(
        image=read_input(args["uov_image"]),
        method=UpscaleVaryMethod(args["uov_method"]),
    )


def _enhance(args: dict[str, Any]) -> EnhanceParams:
    return EnhanceParams(
        image=read_input(args["enhance_image"]) if args["enhance_image"] else None,
        method=UpscaleVaryMethod(args["enhance_uov"]),
        order=EnhanceOrder(args["enhance_order"]),
        prompt_source=EnhancePrompt(args["enhance_prompt_type"]),
        final_only=False,
    )


def _inpaint(args: dict[str, Any]) -> InpaintParams:
    return InpaintParams(
        image=read_input(args["inpaint_image"]),
        mask=read_input(args["inpaint_mask"]) if args["inpaint_mask"] else None,
        invert=args["invert_mask"],
        grow=args["inpaint_erode_or_dilate"],
        extend=tuple(Extension(side=Side(side)) for side in args["outpaint"]),
        prompt=args["inpaint_additional_prompt"],
        engine=InpaintEngine(args["inpaint_engine"]),
        strength=args["inpaint_strength"],
        from_noise=args["inpaint_disable_initial_latent"],
        field=args["inpaint_respective_field"],
    )


def composed_of_job(job: dict[str, Any], image: int) -> tuple[ComposedPrompt, tuple[Lora, ...]]:
    """The texts of one picture of a recorded job, and all LoRAs of the job in their order."""
    args, params = job["args"], params_of_job(job)
    text = params.prompt.positive
    if args["inpaint_additional_prompt"]:
        text = f"{args['inpaint_additional_prompt']}\n{text}"
    own = MODES[params.sampling.performance].lora
    mode_loras = (own,) if own else ()
    composed = compose_prompts(
        replace(params.prompt, positive=text),
        seeds=picture_seeds(params.canvas),
        loras=LoraChoice(
            given=params.models.loras,
            files=tuple(
                name
                for name in load_json("components/text")["lora_filenames"]
                if name not in [lora.name for lora in mode_loras]
            ),
        ),
        styles=load_styles(GOLDEN / "data"),
        wildcards=Wildcards([GOLDEN / "data"]),
    )
    # Pictures that an enhancement adds have the texts of those that it starts from.
    picture = composed.pictures[min(image, len(composed.pictures) - 1)]
    return picture, (*composed.loras, *mode_loras)


def request_of_job(job: dict[str, Any]) -> dict[str, Any]:
    """The JSON body that asks for a recorded job over HTTP; every value is stated."""
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
        **_pictures_of(args),
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
            "overwrite_vary_strength": args["overwrite_vary_strength"],
            "overwrite_upscale_strength": args["overwrite_upscale_strength"],
            "mixing_image_prompt_and_vary_upscale": args["mixing_ip_vary"],
            "mixing_image_prompt_and_inpaint": args["mixing_ip_inpaint"],
            "debugging_cn_preprocessor": args["debugging_cn"],
            "skipping_cn_preprocessor": args["skipping_cn"],
            "canny_low_threshold": args["canny_low"],
            "canny_high_threshold": args["canny_high"],
            "controlnet_softness": args["controlnet_softness"],
            "debugging_inpaint_preprocessor": args["debugging_inpaint"],
            "inpaint_disable_initial_latent": args["inpaint_disable_initial_latent"],
            "inpaint_engine": args["inpaint_engine"],
            "inpaint_strength": args["inpaint_strength"],
            "inpaint_respective_field": args["inpaint_respective_field"],
            "invert_mask_checkbox": args["invert_mask"],
            "inpaint_erode_or_dilate": args["inpaint_erode_or_dilate"],
            "refiner_swap_method": args["swap"],
            "freeu_enabled": args["freeu"] is not None,
            **freeu,
        },
    }


def _pictures_of(args: dict[str, Any]) -> dict[str, Any]:
    """What a request says of its pictures."""
    fields: dict[str, Any] = {}
    if args["uov_image"]:
        fields["input_image"] = as_base64(recorded_input(args["uov_image"]))
        fields["uov_method"] = args["uov_method"]
    if args["inpaint_image"]:
        fields["input_image"] = as_base64(recorded_input(args["inpaint_image"]))
        fields["inpaint_additional_prompt"] = args["inpaint_additional_prompt"]
        fields["outpaint_selections"] = args["outpaint"]
    if args["inpaint_mask"]:
        fields["input_mask"] = as_base64(recorded_input(args["inpaint_mask"]))
    if args["cn"]:
        fields["image_prompts"] = [
            {
                "cn_img": as_base64(recorded_input(name)),
                "cn_stop": stop,
                "cn_weight": weight,
                "cn_type": kind,
            }
            for name, stop, weight, kind in args["cn"]
        ]
    return fields


def assert_same_picture(made: NDArray[np.uint8], recorded: Path) -> None:
    """Assert that a picture equals a recorded one, up to rounding noise."""
    with Image.open(recorded) as file:
        expected = np.asarray(file.convert("RGB"))
    assert made.shape == expected.shape
    difference = np.abs(made.astype(np.int16) - expected.astype(np.int16))
    assert difference.max() <= MAX_LEVEL
    assert difference.mean() <= MEAN_LEVEL
