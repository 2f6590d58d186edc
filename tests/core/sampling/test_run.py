"""Whole runs against the recorded latents, and through a formula in place of the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fooocus_core.choices import Sampler, Scheduler
from fooocus_core.errors import DeviceMemoryError, RunCancelled
from fooocus_core.loading.checkpoint import Checkpoint
from fooocus_core.params import GuidanceParams
from fooocus_core.sampling.denoiser import GuidedDenoiser
from fooocus_core.sampling.noise_levels import noise_model, standard_levels
from fooocus_core.sampling.run import (
    OnSampled,
    SamplingRun,
    Turn,
    latent_format,
    make_leg,
    noised,
    sample,
    seeded_noise,
)
from fooocus_core.sampling.samplers import SAMPLERS
from fooocus_core.sampling.samplers.base import (
    Denoiser,
    NoiseSource,
    OnStep,
    SamplerFunction,
    StepInfo,
)
from fooocus_core.text.encoder import TextConditioning
from fooocus_core.unet.size_conditioning import SizeConditioning
from tests.golden import (
    LATENT,
    assert_matches,
    case_id,
    load_arrays,
    load_cases,
    load_json,
    random_array,
)
from tests.networks import Formula, formula_prompts, sine_tensor

RECORDED = load_arrays("components/samplers")
CHECKS = load_json("check-values-text-to-image")["integrated_toy"]["results"]
CPU = torch.device("cpu")


def ignore(step: int, steps: int, denoised: Tensor) -> None:
    """Takes no notice of a step."""


def turn_of(run: SamplingRun, denoiser: Denoiser, on_step: OnSampled) -> Turn:
    return Turn(denoiser=denoiser, format=latent_format(run.scheduler), on_step=on_step)


def sizes(width: int, height: int, guidance: GuidanceParams) -> SizeConditioning:
    return SizeConditioning(
        width=width,
        height=height,
        positive_scale=guidance.size_scale_positive,
        negative_scale=guidance.size_scale_negative,
        end=guidance.size_scale_end,
    )


def run_of(case: dict[str, Any]) -> SamplingRun:
    return SamplingRun(
        sampler=Sampler(case["sampler"]),
        scheduler=Scheduler(case["scheduler"]),
        steps=case["steps"],
        denoise=case["denoise"],
    )


@pytest.fixture
def denoiser(
    case: dict[str, Any],
    checkpoint: Checkpoint,
    positive: TextConditioning,
    negative: TextConditioning,
) -> GuidedDenoiser:
    guidance = GuidanceParams(scale=case["cfg"])
    return GuidedDenoiser(
        checkpoint.unet,
        positive,
        negative,
        guidance=guidance,
        size=sizes(case["width"], case["height"], guidance),
        noise_model=noise_model(Scheduler(case["scheduler"])),
    )


@pytest.fixture
def latent(case: dict[str, Any]) -> Tensor:
    shape = (1, 4, case["height"] // 8, case["width"] // 8)
    return torch.tensor(RECORDED.get(f"{case['key']}_init", np.zeros(shape, np.float32)))


@pytest.mark.parametrize("case", load_cases("components/samplers"), ids=case_id)
def test_runs_go_through_the_recorded_states_to_the_recorded_latent(
    case: dict[str, Any],
    denoiser: GuidedDenoiser,
    latent: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, run = case["key"], run_of(case)
    seen, states = list[Tensor](), list[Tensor]()
    watched = {run.sampler: watch(SAMPLERS[run.sampler], states)}
    monkeypatch.setattr("fooocus_core.sampling.run.SAMPLERS", watched)
    turn = turn_of(run, denoiser, lambda *step: seen.append(step[2]))
    result = sample(run, turn, latent, seeded_noise(run, case["seed"], tuple(latent.shape), CPU))
    assert_matches(result, RECORDED[key], LATENT)
    assert len(seen) == case.get("callbacks", case["steps"])
    for name, found in ((f"{key}_x0", seen), (f"{key}_x", states)):
        expected = RECORDED.get(name, np.empty(0))
        if expected.size:
            assert_matches(torch.cat(found), expected, LATENT)


def watch(sampler: SamplerFunction, states: list[Tensor]) -> SamplerFunction:
    """The sampler, adding to a list the state that each step starts from."""

    def watched(
        denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep
    ) -> Tensor:
        def note(info: StepInfo) -> None:
            states.append(info.x.clone())
            on_step(info)

        return sampler(denoiser, x, sigmas, noise=noise, on_step=note)

    return watched


@pytest.mark.parametrize("case", load_cases("components/samplers"), ids=case_id)
def test_samplers_are_fed_the_recorded_levels(case: dict[str, Any]) -> None:
    run = run_of(case)
    leg = make_leg(run, noise_model(run.scheduler).levels)
    np.testing.assert_allclose(leg.sigmas, RECORDED[f"{case['key']}_sigmas"], rtol=1e-6)


KARRAS = {"sampler": Sampler.DPMPP_2M_SDE_GPU, "scheduler": Scheduler.KARRAS, "steps": 8}
FEW = {"scale": 1.0, "size_scale_end": 0.0}


@pytest.mark.parametrize(
    ("key", "run", "guidance", "latent"),
    [
        ("2m_sde cfg4 sharp2", {}, {}, 0.0),
        ("cfg10 sharp30", {}, {"scale": 10.0, "sharpness": 30.0}, 0.0),
        ("cfg1", {}, {"scale": 1.0}, 0.0),
        ("adm_end 1.0", {}, {"size_scale_end": 1.0}, 0.0),
        ("denoise .5 on latent", {"denoise": 0.5}, {}, 1.0),
        (
            "euler sgm 4 cfg1",
            {"sampler": Sampler.EULER, "scheduler": Scheduler.SGM_UNIFORM, "steps": 4},
            FEW,
            0.0,
        ),
        (
            "dpmpp_sde_gpu karras 4 cfg1",
            {"sampler": Sampler.DPMPP_SDE_GPU, "steps": 4},
            FEW,
            0.0,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_everything_together_gives_the_measured_values(
    key: str, run: dict[str, Any], guidance: dict[str, float], latent: float
) -> None:
    params = GuidanceParams(**guidance)
    settings = SamplingRun(**(KARRAS | run))
    denoiser = GuidedDenoiser(
        Formula(),
        *formula_prompts(),
        guidance=params,
        size=sizes(128, 128, params),
        noise_model=noise_model(settings.scheduler),
    )
    shape = (1, 4, 16, 16)
    steps: list[tuple[int, int]] = []
    result = sample(
        settings,
        turn_of(settings, denoiser, lambda step, total, _: steps.append((step, total))),
        latent * sine_tensor(shape, 0.31),
        seeded_noise(settings, 12345, shape, CPU),
    )
    expected = CHECKS[key]
    places = result.flatten()[[0, 1, 2, 3, 500, 1023]]
    np.testing.assert_allclose(places, expected["x"], atol=5e-5)
    assert float(result.mean()) == pytest.approx(expected["mean"], abs=1e-5)
    assert float(result.std()) == pytest.approx(expected["std"], abs=1e-5)
    assert list(steps[-1]) == expected["cb"]


class Stubborn:
    """Denoises to nothing, or fails."""

    noise_model = noise_model(Scheduler.KARRAS)

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    def __call__(self, x: Tensor, _sigma: Tensor) -> Tensor:
        if self.failure is not None:
            raise self.failure
        return torch.zeros_like(x)


def run_on(denoiser: Stubborn, on_step: Any = ignore) -> Tensor:
    run = SamplingRun(sampler=Sampler.EULER, scheduler=Scheduler.KARRAS, steps=4)
    noise = seeded_noise(run, 1, (1, 4, 8, 8), CPU)
    return sample(run, turn_of(run, denoiser, on_step), torch.zeros(1, 4, 8, 8), noise)


def test_a_cancelled_run_ends_at_its_next_step() -> None:
    seen: list[int] = []

    def cancel(step: int, steps: int, denoised: Tensor) -> None:
        seen.append(step)
        if step == 1:
            raise RunCancelled

    with pytest.raises(RunCancelled):
        run_on(Stubborn(), cancel)
    assert seen == [0, 1]


def test_running_out_of_memory_says_so() -> None:
    with pytest.raises(DeviceMemoryError, match="sampling"):
        run_on(Stubborn(torch.OutOfMemoryError()))


def test_results_carry_no_gradients() -> None:
    assert not run_on(Stubborn()).requires_grad


@pytest.mark.parametrize("scheduler", [Scheduler.KARRAS, Scheduler.EDM_PLAYGROUND])
def test_formats_lead_back_to_where_they_came_from(scheduler: Scheduler) -> None:
    raw = torch.tensor(random_array(1, (1, 4, 8, 8)))
    formats = latent_format(scheduler)
    torch.testing.assert_close(formats.to_vae(formats.to_sampler(raw)), raw)


def test_the_format_of_playground_normalises_channels() -> None:
    mean = torch.tensor([-1.6574, 1.886, -1.383, 2.5155]).view(1, 4, 1, 1)
    assert latent_format(Scheduler.EDM_PLAYGROUND).to_sampler(mean).abs().max() == 0


@pytest.mark.parametrize(
    ("sigma", "factor"),
    [(14.6146431, (1 + 14.6146431**2) ** 0.5), (14.6, 14.6), (0.5, 0.5)],
    ids=["highest", "almost", "low"],
)
def test_noise_is_scaled_to_the_first_level(sigma: float, factor: float) -> None:
    latent, noise = torch.full((1, 4, 2, 2), 3.0), torch.ones(1, 4, 2, 2)
    x = noised(latent, noise, torch.tensor(sigma), standard_levels())
    torch.testing.assert_close(x, torch.full_like(x, 3.0 + factor))
