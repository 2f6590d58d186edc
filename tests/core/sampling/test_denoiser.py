"""Guided estimates against the recorded ones."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fooocus_core.choices import Sampler, Scheduler
from fooocus_core.downloads import IMAGE_ENCODER, IP_ADAPTER, IP_ADAPTER_FACE, IP_NEGATIVE
from fooocus_core.loading.checkpoint import Checkpoint
from fooocus_core.loading.control_lora import CANNY_FILE, CPDS_FILE, load_control_net
from fooocus_core.params import GuidanceParams
from fooocus_core.sampling.denoiser import GuidedDenoiser, Guides, guided_estimate, progress_at
from fooocus_core.sampling.noise_levels import noise_model
from fooocus_core.sampling.run import (
    SamplingRun,
    Turn,
    latent_format,
    sample,
    seeded_noise,
)
from fooocus_core.text.encoder import TextConditioning
from fooocus_core.unet.controlnet import Control, make_hint, soften_residuals
from fooocus_core.unet.image_attention import ImageGuide, ImagePrompts
from fooocus_core.unet.ip_adapter import load_ip_adapter
from fooocus_core.unet.size_conditioning import PromptSide, SizeConditioning
from fooocus_core.vision.clip_vision import load_image_encoder
from tests.golden import (
    LATENT,
    NETWORK,
    assert_matches,
    case_id,
    load_arrays,
    load_cases,
    load_json,
    load_picture,
)
from tests.networks import CPU_PLAN

RECORDED = load_arrays("components/sampling_function")
UNET = load_arrays("components/unet")
CONTROLLED = load_arrays("components/controlnet")
PROMPTED = load_arrays("components/ipadapter")
CHECKS = load_json("check-values-text-to-image")

GUIDANCE_NAMES = {
    "sharpness": "sharpness",
    "adaptive_cfg": "adaptive_scale",
    "adm_scaler_end": "size_scale_end",
}
# The recording made the size vectors once per latent size, before it changed the settings of a
# case, so the second size got the scales of the last case of the first.
SIZE_SCALES = {
    "d0": {"size_scale_positive": 1.5, "size_scale_negative": 0.8},
    "d1": {"size_scale_positive": 1.2, "size_scale_negative": 0.9},
}


CONTROL_FILES = {"canny": CANNY_FILE, "cpds": CPDS_FILE}
ADAPTER_FILES = {"ip-adapter-plus": IP_ADAPTER, "ip-adapter-plus-face": IP_ADAPTER_FACE}
PROMPTED_RUNS = load_cases("components/ipadapter")


class RecordingUNet:
    """Answers with half its input and remembers what it was asked."""

    device = torch.device("cpu")

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self.calls: list[SimpleNamespace] = []

    def __call__(self, sample: Tensor, timestep: Tensor, **inputs: Any) -> tuple[Tensor]:
        self.calls.append(SimpleNamespace(sample=sample, timestep=timestep, **inputs))
        return (sample * 0.5,)


def waves(k: float) -> Tensor:
    return torch.arange(1024, dtype=torch.float32).mul(k).sin().view(1, 4, 16, 16)


def prompt(tokens: int, value: float) -> TextConditioning:
    return TextConditioning(
        embeddings=torch.full((1, tokens, 8), value), pooled=torch.full((1, 5), value)
    )


def sizes(width: int, height: int, guidance: GuidanceParams) -> SizeConditioning:
    return SizeConditioning(
        width=width,
        height=height,
        positive_scale=guidance.size_scale_positive,
        negative_scale=guidance.size_scale_negative,
        end=guidance.size_scale_end,
    )


def make_denoiser(
    unet: RecordingUNet,
    positive: TextConditioning,
    negative: TextConditioning,
    scale: float = 4.0,
    **options: Any,
) -> GuidedDenoiser:
    guidance = GuidanceParams(scale=scale)
    return GuidedDenoiser(
        unet,
        positive,
        negative,
        guidance=guidance,
        size=sizes(128, 128, guidance),
        noise_model=noise_model(Scheduler.KARRAS),
        **options,
    )


class ConstantNet:
    """A control net that gives its number, and remembers what it was asked."""

    def __init__(self, number: float) -> None:
        self.number = number
        self.calls: list[SimpleNamespace] = []

    def __call__(
        self, sample: Tensor, timestep: Tensor, **inputs: Any
    ) -> tuple[list[Tensor], Tensor]:
        self.calls.append(SimpleNamespace(sample=sample, timestep=timestep, **inputs))
        residual = torch.full((len(sample), 1, 2, 2), self.number)
        return [residual, 10 * residual], 100 * residual


def constant_control(number: float, stop: float = 1.0) -> Control:
    return Control(
        network=ConstantNet(number),
        hint=torch.zeros(1, 3, 128, 128),
        weight=1.0,
        stop=stop,
        softness=0.0,
    )


def recorded_controls(case: dict[str, Any], checkpoint: Checkpoint, weights: Path) -> list[Control]:
    size = case["height"] // 8, case["width"] // 8
    return [
        Control(
            network=load_control_net(
                weights / "controlnet" / CONTROL_FILES[name], checkpoint.unet, CPU_PLAN
            ),
            hint=make_hint(CONTROLLED[f"hint_{name}"], *size),
            weight=weight,
            stop=stop,
            softness=case["softness"],
        )
        for name, weight, stop in zip(case["nets"], case["weights"], case["stops"], strict=True)
    ]


@pytest.mark.parametrize("case", load_cases("components/controlnet"), ids=case_id)
def test_controlled_runs_end_with_the_recorded_latent(
    case: dict[str, Any],
    checkpoint: Checkpoint,
    positive: TextConditioning,
    negative: TextConditioning,
    weights: Path,
) -> None:
    controls = recorded_controls(case, checkpoint, weights)
    outputs: list[list[Tensor]] = []
    for control in controls:
        control.network.register_forward_hook(
            lambda _module, _args, found: outputs.append([*found[0], found[1]])
        )
    guidance = GuidanceParams(scale=case["cfg"])
    run = SamplingRun(
        sampler=Sampler(case["sampler"]),
        scheduler=Scheduler(case["scheduler"]),
        steps=case["steps"],
    )
    denoiser = GuidedDenoiser(
        checkpoint.unet,
        positive,
        negative,
        guidance=guidance,
        size=sizes(case["width"], case["height"], guidance),
        noise_model=noise_model(run.scheduler),
        guides=Guides(controls=controls),
    )
    turn = Turn(denoiser=denoiser, format=latent_format(run.scheduler), on_step=lambda *_: None)
    blank = torch.zeros(1, 4, case["height"] // 8, case["width"] // 8)
    noise = seeded_noise(run, case["seed"], tuple(blank.shape), blank.device)
    latent = sample(run, turn, blank, noise)
    assert_matches(latent, CONTROLLED[case["key"]], LATENT)
    assert len(outputs) == case["calls"]
    for index, residual in enumerate(soften_residuals(outputs[0], case["softness"])):
        expected = CONTROLLED[f"{case['key']}_first_out{index}"]
        assert_matches(residual[:, : expected.shape[1]], expected, NETWORK)


class RecordingPrompts:
    """Image prompts that remember what they were told."""

    def __init__(self) -> None:
        self.told: list[tuple[tuple[PromptSide, ...], float]] = []

    def begin_call(self, sides: tuple[PromptSide, ...], progress: float) -> None:
        self.told.append((sides, progress))


def recorded_image_prompts(case: dict[str, Any], weights: Path) -> ImagePrompts:
    """The image prompts of a recorded run, loaded and read as a workflow does it."""
    folder = weights / "controlnet"
    encoder = load_image_encoder(weights / "clip_vision" / IMAGE_ENCODER.name, CPU_PLAN)
    guides = []
    for task in case["tasks"]:
        file = folder / ADAPTER_FILES[task["adapter"]].name
        adapter = load_ip_adapter(file, folder / IP_NEGATIVE.name, CPU_PLAN)
        picture = adapter.read(encoder.encode(load_picture(task["image"])))
        guides.append(ImageGuide(picture=picture, weight=task["weight"], stop=task["stop"]))
    return ImagePrompts(guides)


@pytest.mark.parametrize(
    "case", [*PROMPTED_RUNS, {**PROMPTED_RUNS[0], "key": "run_none", "tasks": []}], ids=case_id
)
def test_runs_with_image_prompts_end_with_the_recorded_latent(
    case: dict[str, Any],
    checkpoint: Checkpoint,
    positive: TextConditioning,
    negative: TextConditioning,
    weights: Path,
) -> None:
    prompts = recorded_image_prompts(case, weights)
    guidance = GuidanceParams(scale=case["cfg"])
    run = SamplingRun(
        sampler=Sampler(case["sampler"]),
        scheduler=Scheduler(case["scheduler"]),
        steps=case["steps"],
    )
    denoiser = GuidedDenoiser(
        checkpoint.unet,
        positive,
        negative,
        guidance=guidance,
        size=sizes(case["width"], case["height"], guidance),
        noise_model=noise_model(run.scheduler),
        guides=Guides(image_prompts=prompts),
    )
    turn = Turn(
        denoiser=denoiser,
        format=latent_format(run.scheduler),
        on_step=lambda *_: None,
        attached=lambda: prompts.attached(checkpoint.unet),
    )
    blank = torch.zeros(1, 4, case["height"] // 8, case["width"] // 8)
    noise = seeded_noise(run, case["seed"], tuple(blank.shape), blank.device)

    latent = sample(run, turn, blank, noise)

    assert_matches(latent, PROMPTED[case["key"]], LATENT)


@pytest.mark.parametrize(
    ("tokens", "scale", "told"),
    [
        ((77, 77), 4.0, [("negative", "positive")]),
        ((4 * 77, 5 * 77), 4.0, [("positive",), ("negative",)]),
        ((77, 77), 1.0, [("positive",)]),
    ],
    ids=["both", "one by one", "unguided"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_image_prompts_are_told_the_rows_and_the_progress_of_each_call(
    tokens: tuple[int, int], scale: float, told: list[tuple[str, ...]], dtype: torch.dtype
) -> None:
    prompts, unet = RecordingPrompts(), RecordingUNet(dtype)
    sides = prompt(tokens[0], 1.0), prompt(tokens[1], -1.0)
    denoiser = make_denoiser(unet, *sides, scale=scale, guides=Guides(image_prompts=prompts))

    denoiser(waves(0.3), torch.tensor(2.0))

    assert [rows for rows, _ in prompts.told] == told
    expected = progress_at(unet.calls[0].timestep[0], dtype)
    assert {progress for _, progress in prompts.told} == {expected}


@torch.inference_mode()
@pytest.mark.parametrize("case", load_cases("components/sampling_function"), ids=case_id)
def test_guided_estimates_of_the_network_are_the_recorded_ones(
    case: dict[str, Any],
    checkpoint: Checkpoint,
    positive: TextConditioning,
    negative: TextConditioning,
) -> None:
    patch = case["patch"]
    changes = {ours: patch[name] for name, ours in GUIDANCE_NAMES.items() if name in patch}
    guidance = GuidanceParams(scale=case["cfg"], **changes, **SIZE_SCALES[case["key"][:2]])
    denoiser = GuidedDenoiser(
        checkpoint.unet,
        positive,
        negative,
        guidance=guidance,
        size=sizes(case["width"], case["height"], guidance),
        noise_model=noise_model(Scheduler.KARRAS),
    )
    sigma = torch.tensor(case["sigma"])
    unit = re.match(r"unit\d", case["x"])
    assert unit is not None
    x = torch.tensor(RECORDED[unit[0]]) * (1 + sigma**2).sqrt()
    denoised = denoiser(x, sigma)
    assert_matches(denoised, RECORDED[case["key"]], NETWORK)
    assert_matches((x - denoised) / sigma, RECORDED[f"{case['key']}_epsrec"], NETWORK)


def noise_of(checkpoint: Checkpoint, x: Tensor, t: Tensor, context: Tensor, y: Tensor) -> Tensor:
    """The UNet's output for a whole conditioning vector, past the UNet's own sinusoids."""
    embedded = checkpoint.unet.add_embedding(y)
    handle = checkpoint.unet.add_embedding.register_forward_hook(lambda *_: embedded)
    unused = {"text_embeds": torch.zeros(2, 1280), "time_ids": torch.zeros(2, 6)}
    try:
        return checkpoint.unet(x, t, context, added_cond_kwargs=unused, return_dict=False)[0]
    finally:
        handle.remove()


def both_contexts(context: Tensor) -> Tensor:
    return torch.cat([context, 0.9 * context])


@torch.inference_mode()
@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_network_gives_the_recorded_noise(index: int, checkpoint: Checkpoint) -> None:
    x, y, t = (torch.tensor(UNET[f"{name}{index}"]) for name in "xyt")
    context = both_contexts(torch.tensor(UNET["context"]))
    noise = noise_of(checkpoint, x, t, context, y)
    assert_matches(noise, UNET[f"eps{index}"], NETWORK)


@torch.inference_mode()
@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_network_gives_the_recorded_noise_for_timed_sizes(
    index: int, checkpoint: Checkpoint
) -> None:
    t, y = torch.tensor(UNET[f"t_timed{index}"]), torch.tensor(UNET["y5632"])
    is_scaled = sizes(64, 64, GuidanceParams()).time_ids(PromptSide.POSITIVE, float(t[0]))[0] != 64
    half = y[:, :2816] if is_scaled else y[:, 2816:]
    context = both_contexts(torch.tensor(UNET["context"]))
    noise = noise_of(checkpoint, torch.tensor(UNET["x2"]), t, context, half)
    assert_matches(noise, UNET[f"eps_timed{index}"], NETWORK)


@torch.inference_mode()
def test_the_network_gives_the_recorded_noise_for_a_long_prompt(checkpoint: Checkpoint) -> None:
    c = torch.tensor(UNET["context"])
    context = torch.cat([c, c / 2, -c], dim=1).expand(2, -1, -1)
    x, y, t = (torch.tensor(UNET[name]) for name in ("x2", "y2", "t_long"))
    assert_matches(noise_of(checkpoint, x, t, context, y), UNET["eps_long"], NETWORK)


@pytest.mark.parametrize("case", CHECKS["guided_x0"]["cases"], ids=lambda case: str(case["cfg"]))
def test_estimates_combine_to_the_measured_values(case: dict[str, Any]) -> None:
    guidance = GuidanceParams(
        scale=case["cfg"], adaptive_scale=case["mimic"], sharpness=case["sharpness"]
    )
    denoised = {PromptSide.POSITIVE: waves(0.37), PromptSide.NEGATIVE: 0.5 * waves(0.29)}
    combined = guided_estimate(3 * waves(0.23), denoised, guidance, case["progress"])
    np.testing.assert_allclose(combined.flatten()[:4], case["first4"], atol=1e-5)
    assert float(combined.sum()) == pytest.approx(case["sum"], abs=2e-3)
    assert float(combined.abs().sum()) == pytest.approx(case["abs_sum"], rel=1e-5)


def test_both_prompts_go_in_one_batch_negative_first() -> None:
    unet = RecordingUNet()
    make_denoiser(unet, prompt(77, 1.0), prompt(154, -1.0))(waves(0.3), torch.tensor(14.6))
    (call,) = unet.calls
    assert call.encoder_hidden_states.shape == (2, 154, 8)
    assert call.encoder_hidden_states[:, 0, 0].tolist() == [-1.0, 1.0]
    assert call.added_cond_kwargs["text_embeds"][:, 0].tolist() == [-1.0, 1.0]
    assert call.added_cond_kwargs["time_ids"][:, 0].tolist() == [102, 192]
    assert call.timestep.tolist() == [999, 999]


def test_lengths_with_a_long_common_multiple_run_one_by_one_positive_first() -> None:
    unet = RecordingUNet()
    denoiser = make_denoiser(unet, prompt(4 * 77, 1.0), prompt(5 * 77, -1.0))
    denoiser(waves(0.3), torch.tensor(1.0))
    assert [call.encoder_hidden_states.shape[1] for call in unet.calls] == [4 * 77, 5 * 77]


@pytest.mark.parametrize(("tokens", "calls"), [(77, 1), (154, 2)])
def test_prompts_that_may_not_be_repeated_share_a_call_only_if_equally_long(
    tokens: int, calls: int
) -> None:
    unet = RecordingUNet()
    denoiser = make_denoiser(unet, prompt(77, 1.0), prompt(tokens, -1.0), max_repeats=1)
    denoiser(waves(0.3), torch.tensor(1.0))
    assert len(unet.calls) == calls


def test_splitting_the_batch_changes_nothing() -> None:
    x, sigma = waves(0.3), torch.tensor(1.0)
    split = make_denoiser(RecordingUNet(), prompt(4 * 77, 1.0), prompt(5 * 77, -1.0))
    together = make_denoiser(RecordingUNet(), prompt(77, 1.0), prompt(77, -1.0))
    torch.testing.assert_close(split(x, sigma), together(x, sigma))


def test_guidance_one_evaluates_the_positive_prompt_only() -> None:
    unet = RecordingUNet()
    x, sigma = waves(0.3), torch.tensor(2.0)
    denoised = make_denoiser(unet, prompt(77, 1.0), prompt(77, -1.0), scale=1.0)(x, sigma)
    (call,) = unet.calls
    assert call.encoder_hidden_states[:, 0, 0].tolist() == [1.0]
    torch.testing.assert_close(denoised, x - 0.5 * x / 5**0.5 * 2)


@pytest.mark.parametrize(
    ("dtype", "key"),
    [(torch.float32, "karras30_progress_fp32"), (torch.float16, "karras30_progress_fp16")],
    ids=str,
)
def test_progress_is_rounded_as_the_network_computes(dtype: torch.dtype, key: str) -> None:
    timesteps = torch.tensor(CHECKS["karras30_timesteps"], dtype=torch.float32)
    assert [progress_at(timestep, dtype) for timestep in timesteps] == CHECKS[key]


def test_the_sampler_sees_float32_around_a_half_precision_network() -> None:
    unet = RecordingUNet(torch.float16)
    denoised = make_denoiser(unet, prompt(77, 1.0), prompt(77, -1.0))(waves(0.3), torch.tensor(2.0))
    (call,) = unet.calls
    assert denoised.dtype == torch.float32
    assert call.sample.dtype == call.encoder_hidden_states.dtype == torch.float16
    assert call.added_cond_kwargs["time_ids"].dtype == torch.float32


def test_the_network_gets_contiguous_latents() -> None:
    unet = RecordingUNet()
    x = waves(0.3).to(memory_format=torch.channels_last)
    make_denoiser(unet, prompt(77, 1.0), prompt(77, -1.0), scale=1.0)(x, torch.tensor(2.0))
    assert unet.calls[0].sample.is_contiguous()


def test_controls_are_asked_what_the_network_is_asked_and_their_answers_summed() -> None:
    unet, controls = RecordingUNet(), [constant_control(0.5), constant_control(0.25)]
    sides = prompt(77, 1.0), prompt(77, -1.0)
    make_denoiser(unet, *sides, guides=Guides(controls=controls))(waves(0.3), torch.tensor(14.6))
    (call,) = unet.calls
    skips = call.down_block_additional_residuals
    assert [skip.unique().tolist() for skip in skips] == [[0.75], [7.5]]
    assert call.mid_block_additional_residual.unique().tolist() == [75.0]
    for control in controls:
        (asked,) = control.network.calls
        assert asked.sample is call.sample
        assert asked.timestep is call.timestep
        assert asked.encoder_hidden_states is call.encoder_hidden_states
        assert asked.added_cond_kwargs is call.added_cond_kwargs


@pytest.mark.parametrize(("sigma", "is_controlled"), [(14.6, True), (0.1, False)])
def test_a_control_is_asked_no_more_after_its_stop(sigma: float, is_controlled: bool) -> None:
    unet, control = RecordingUNet(), constant_control(1.0, stop=0.5)
    sides = prompt(77, 1.0), prompt(77, -1.0)
    denoiser = make_denoiser(unet, *sides, guides=Guides(controls=[control]))
    denoiser(waves(0.3), torch.tensor(sigma))
    assert hasattr(unet.calls[0], "mid_block_additional_residual") is is_controlled
    assert bool(control.network.calls) is is_controlled


def test_prompts_that_run_one_by_one_are_controlled_one_by_one() -> None:
    unet, control = RecordingUNet(), constant_control(1.0)
    sides = prompt(4 * 77, 1.0), prompt(5 * 77, -1.0)
    make_denoiser(unet, *sides, guides=Guides(controls=[control]))(waves(0.3), torch.tensor(1.0))
    assert [len(asked.sample) for asked in control.network.calls] == [1, 1]
    assert all(len(call.mid_block_additional_residual) == 1 for call in unet.calls)


@torch.inference_mode()
@pytest.mark.parametrize("change", [{"weight": 0.0}, {"stop": 0.0}], ids=["weight", "stop"])
def test_a_control_that_counts_for_nothing_changes_no_bit(
    change: dict[str, float],
    checkpoint: Checkpoint,
    positive: TextConditioning,
    negative: TextConditioning,
    weights: Path,
) -> None:
    case = load_cases("components/controlnet")[0]
    (control,) = recorded_controls(case, checkpoint, weights)
    guidance, x = GuidanceParams(scale=4.0), torch.tensor(RECORDED["unit0"])
    estimates = [
        GuidedDenoiser(
            checkpoint.unet,
            positive,
            negative,
            guidance=guidance,
            size=sizes(128, 128, guidance),
            noise_model=noise_model(Scheduler.KARRAS),
            guides=Guides(controls=controls),
        )(x * 14, torch.tensor(14.614643))
        for controls in ([], [replace(control, **change)])
    ]
    assert torch.equal(*estimates)
