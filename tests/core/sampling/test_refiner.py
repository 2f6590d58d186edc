"""Runs shared by base and refiner, against the recorded latents and through formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import Timesteps
from torch import Tensor, nn

from fooocus_core.choices import RefinerSwap, Sampler, Scheduler
from fooocus_core.downloads import INTERPOSER
from fooocus_core.loading.checkpoint import Checkpoint, CheckpointKind
from fooocus_core.params import GuidanceParams
from fooocus_core.sampling.denoiser import MAX_REPEATS, GuidedDenoiser
from fooocus_core.sampling.noise import SeededNoise
from fooocus_core.sampling.noise_levels import noise_model
from fooocus_core.sampling.refiner import (
    Model,
    Relay,
    Route,
    choose_route,
    refiner_conditioning,
)
from fooocus_core.sampling.run import (
    SD15_FORMAT,
    LatentFormat,
    SamplingRun,
    Turn,
    latent_format,
    make_leg,
    sample,
    seeded_noise,
)
from fooocus_core.sampling.schedules import swap_sigmas
from fooocus_core.text.encoder import TextConditioning
from fooocus_core.unet.size_conditioning import (
    NoSizeConditioning,
    PromptSide,
    RefinerSizeConditioning,
    SizeConditioning,
)
from fooocus_core.vae.interposer import Interposer, load_interposer
from tests.golden import LATENT, NETWORK, assert_matches, case_id, load_arrays, load_json
from tests.networks import CPU_PLAN, Formula, evaluate_unet, formula_prompts, load_checkpoint

RECORDED = load_arrays("components/refiner")
CASES = load_json("components/refiner")
CHECKS = load_json("check-values-text-to-image")["integrated_toy"]
CPU = torch.device("cpu")
PLACES = [0, 1, 2, 3, 500, 1023]

XL_REFINER, SD15, SDXL = CheckpointKind.SDXL_REFINER, CheckpointKind.SD15, CheckpointKind.SDXL
FILES = {"xlrefiner": "tiny_refiner", "sdxl_b": "tiny_sdxl_b", "sd15": "tiny_sd15"}


@pytest.fixture(scope="module")
def refiners(weights: Path) -> dict[str, Checkpoint]:
    """Checkpoints of all kinds of refiners, by the names of the recording."""
    return {
        name: load_checkpoint(weights / "checkpoints" / f"{file}.safetensors", CPU_PLAN)
        for name, file in FILES.items()
    }


@pytest.fixture(scope="module")
def interposer(weights: Path) -> Interposer:
    return load_interposer(weights / "vae_approx" / INTERPOSER.name, CPU_PLAN)


@pytest.fixture
def final_norm(checkpoint: Checkpoint) -> nn.LayerNorm:
    """The norm that SD 1.5 refiners want to see applied."""
    assert checkpoint.clip_l is not None
    return checkpoint.clip_l.final_layer_norm


def test_an_sdxl_refiner_gets_the_recorded_conditioning(
    positive: TextConditioning, final_norm: nn.LayerNorm
) -> None:
    converted = refiner_conditioning(positive, XL_REFINER, final_norm)
    assert_matches(converted.embeddings, RECORDED["xl_cond"], NETWORK)
    assert_matches(converted.pooled, RECORDED["xl_pooled"], NETWORK)


def test_an_sd15_refiner_gets_the_recorded_conditioning(
    positive: TextConditioning, final_norm: nn.LayerNorm
) -> None:
    converted = refiner_conditioning(positive, SD15, final_norm)
    assert_matches(converted.embeddings, RECORDED["sd15_cond"], NETWORK)
    assert converted.pooled.shape == (1, 0)


def test_the_norm_of_a_rounded_text_encoder_is_applied_in_float32(
    positive: TextConditioning,
) -> None:
    norm = nn.LayerNorm(128)
    exact = refiner_conditioning(positive, SD15, norm)
    rounded = refiner_conditioning(positive, SD15, norm.half())
    assert torch.equal(rounded.embeddings, exact.embeddings)


def test_an_sdxl_base_model_refines_with_the_conditioning_as_it_is(
    positive: TextConditioning, final_norm: nn.LayerNorm
) -> None:
    assert refiner_conditioning(positive, SDXL, final_norm) is positive


@pytest.mark.parametrize("side", list(PromptSide))
def test_an_sdxl_refiner_is_told_the_recorded_sizes(side: PromptSide) -> None:
    size = RefinerSizeConditioning(width=1024, height=832)
    sinusoids = Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)
    told = sinusoids(torch.tensor(size.time_ids(side, 0.0), dtype=torch.float32)).flatten()
    vector = np.concatenate([RECORDED["xl_pooled"][0], told])[None]
    assert_matches(vector, RECORDED[f"xl_adm_{side}"], NETWORK)


def test_the_sdxl_refiner_gives_the_recorded_noise(refiners: dict[str, Checkpoint]) -> None:
    x, t, context = (torch.tensor(RECORDED[name]) for name in ("x", "t", "xl_cond"))
    y = torch.tensor(np.concatenate([RECORDED[f"xl_adm_{side}"] for side in PromptSide]))
    noise = evaluate_unet(refiners["xlrefiner"].unet, x, t, context.expand(2, -1, -1), y)
    assert_matches(noise, RECORDED["xl_eps"], NETWORK)


@torch.inference_mode()
def test_the_sd15_refiner_gives_the_recorded_noise(refiners: dict[str, Checkpoint]) -> None:
    x, t, context = (torch.tensor(RECORDED[name]) for name in ("x", "t", "sd15_cond"))
    unet = refiners["sd15"].unet
    noise = unet(x, t, encoder_hidden_states=context.expand(2, -1, -1)).sample
    assert_matches(noise, RECORDED["sd15_eps"], NETWORK)


@pytest.mark.parametrize("case", CASES["candidate_vae"], ids=lambda c: f"{c['denoise']}")
def test_an_sd15_refiner_takes_over_as_recorded(case: dict[str, Any]) -> None:
    route = choose_route(
        SD15,
        RefinerSwap.JOINT,
        denoise=case["denoise"],
        steps=case["steps"],
        switch_step=case["switch"],
    )
    assert (route.first, route.last) == (case["first"], case["swap"] or case["first"])
    assert route.swap is (RefinerSwap.VAE if case["swap"] else RefinerSwap.JOINT)


@pytest.mark.parametrize("swap", list(RefinerSwap))
@pytest.mark.parametrize(
    ("kind", "last"),
    [(None, Model.BASE), (SDXL, Model.REFINER), (XL_REFINER, Model.REFINER)],
    ids=str,
)
def test_models_without_a_vae_of_their_own_take_over_as_asked(
    kind: CheckpointKind | None, last: Model, swap: RefinerSwap
) -> None:
    route = choose_route(kind, swap, denoise=0.3, steps=30, switch_step=24)
    assert route == Route(first=Model.BASE, last=last, swap=swap)


def test_a_switch_beyond_the_last_step_leaves_a_partial_run_to_the_base() -> None:
    route = choose_route(SD15, RefinerSwap.JOINT, denoise=0.3, steps=8, switch_step=18)
    assert (route.first, route.last) == (Model.BASE, Model.BASE)


@dataclass
class Steps:
    """The steps that a turn reports."""

    seen: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, step: int, steps: int, _denoised: Tensor) -> None:
        self.seen.append((step, steps))


@pytest.mark.parametrize("case", CASES["runs"], ids=case_id)
def test_shared_runs_end_at_the_recorded_latent(
    case: dict[str, Any],
    checkpoint: Checkpoint,
    refiners: dict[str, Checkpoint],
    interposer: Interposer,
    positive: TextConditioning,
    negative: TextConditioning,
    final_norm: nn.LayerNorm,
) -> None:
    refiner = refiners[case["key"].rsplit("_", 2)[0]]
    width, height, guidance = case["width"], case["height"], GuidanceParams(scale=case["cfg"])
    route = choose_route(
        refiner.kind,
        RefinerSwap(case["method"]),
        denoise=case["denoise"],
        steps=case["steps"],
        switch_step=case["switch"],
    )
    base_size = SizeConditioning(
        width=width, height=height, positive_scale=1.5, negative_scale=0.8, end=0.3
    )
    sizes = {
        SDXL: base_size,
        XL_REFINER: RefinerSizeConditioning(width=width, height=height),
        SD15: NoSizeConditioning(),
    }
    run = SamplingRun(
        sampler=Sampler(case["sampler"]),
        scheduler=Scheduler(case["scheduler"]),
        steps=case["steps"],
        denoise=case["denoise"],
    )

    def turn(model: Checkpoint) -> Turn:
        denoiser = GuidedDenoiser(
            model.unet,
            refiner_conditioning(positive, model.kind, final_norm),
            refiner_conditioning(negative, model.kind, final_norm),
            guidance=guidance,
            size=sizes[model.kind],
            noise_model=noise_model(run.scheduler, model.prediction),
        )
        is_sd15 = model.kind is SD15
        formats = SD15_FORMAT if is_sd15 else latent_format(run.scheduler)
        return Turn(denoiser=denoiser, format=formats, on_step=Steps())

    turns = {Model.BASE: turn(checkpoint), Model.REFINER: turn(refiner)}
    relay = Relay(
        first=turns[route.first],
        last=turns[route.last],
        swap=route.swap,
        switch_step=case["switch"],
        is_sd15=refiner.kind is SD15,
        convert=interposer.convert,
    )
    shape = (1, 4, height // 8, width // 8)
    latent = torch.tensor(RECORDED.get(f"{case['key']}_init", np.zeros(shape, np.float32)))
    noise = seeded_noise(run, case["seed"], shape, CPU)
    assert_matches(relay.sample(run, latent, noise), RECORDED[case["key"]], LATENT)


RUN = SamplingRun(sampler=Sampler.DPMPP_2M_SDE_GPU, scheduler=Scheduler.KARRAS, steps=8)
SHAPE = (1, 4, 16, 16)


def formula_turn(
    unet: Formula,
    prompts: tuple[TextConditioning, TextConditioning],
    *,
    formats: LatentFormat | None = None,
    max_repeats: int = MAX_REPEATS,
    scale: float = 4.0,
    attached: Callable[[], Any] = nullcontext,
) -> Turn:
    denoiser = GuidedDenoiser(
        unet,
        *prompts,
        guidance=GuidanceParams(scale=scale),
        size=SizeConditioning(
            width=128, height=128, positive_scale=1.5, negative_scale=0.8, end=0.3
        ),
        noise_model=noise_model(Scheduler.KARRAS),
        max_repeats=max_repeats,
    )
    formats = formats or latent_format(Scheduler.KARRAS)
    return Turn(denoiser=denoiser, format=formats, on_step=Steps(), attached=attached)


def relay_of(swap: RefinerSwap, first: Turn, last: Turn, **options: Any) -> Relay:
    return Relay(first=first, last=last, swap=swap, switch_step=4, **options)


def noise_of(run: SamplingRun = RUN) -> SeededNoise:
    return seeded_noise(run, 12345, SHAPE, CPU)


def assert_measured(result: Tensor, expected: dict[str, Any]) -> None:
    np.testing.assert_allclose(result.flatten()[PLACES], expected["x"], atol=5e-5)
    assert float(result.mean()) == pytest.approx(expected["mean"], abs=1e-5)
    assert float(result.std()) == pytest.approx(expected["std"], abs=1e-5)


def test_a_joint_run_gives_the_measured_values() -> None:
    base, refiner = Formula(0.8), Formula(0.3)
    first = formula_turn(base, formula_prompts())
    last = formula_turn(refiner, formula_prompts(), max_repeats=1)
    result = relay_of(RefinerSwap.JOINT, first, last).sample(RUN, torch.zeros(SHAPE), noise_of())
    expected = CHECKS["results"]["joint refiner switch4"]
    assert_measured(result, expected)
    assert list(first.on_step.seen[-1]) == expected["cb"]
    assert (base.calls, refiner.calls) == (5, 3 * 2)


def test_separate_runs_give_the_measured_values() -> None:
    base, refiner = Formula(0.8), Formula(0.3)
    turns = formula_turn(base, formula_prompts()), formula_turn(refiner, formula_prompts())
    result = relay_of(RefinerSwap.SEPARATE, *turns).sample(RUN, torch.zeros(SHAPE), noise_of())
    expected = CHECKS["results"]["separate refiner switch4"]
    assert_measured(result, expected)
    assert list(turns[1].on_step.seen[-1]) == expected["cb"]
    assert (base.calls, refiner.calls) == (4, 4)


def test_a_vae_swap_gives_the_measured_values() -> None:
    base, refiner = Formula(0.8), Formula(0.3, is_sized=False)
    first = formula_turn(base, formula_prompts())
    prompts = [
        TextConditioning(embeddings=side.embeddings[..., :768], pooled=side.pooled[:, :0])
        for side in formula_prompts()
    ]
    last = formula_turn(refiner, (prompts[0], prompts[1]), formats=SD15_FORMAT)
    early: list[Tensor] = []

    def convert(latent: Tensor) -> Tensor:
        early.append(latent)
        return latent

    relay = relay_of(RefinerSwap.VAE, first, last, is_sd15=True, convert=convert)
    result = relay.sample(RUN, torch.zeros(SHAPE), noise_of())
    expected = CHECKS["vae_swap"]["results"]
    assert_measured(early[0], expected["run1"])
    assert_measured(result, expected["run2"])
    assert [list(step) for step in last.on_step.seen] == expected["callbacks2"]


@pytest.mark.parametrize("swap", [RefinerSwap.SEPARATE, RefinerSwap.JOINT])
def test_a_model_that_refines_itself_is_given_every_step(swap: RefinerSwap) -> None:
    unet = Formula()
    turn = formula_turn(unet, formula_prompts())
    relay_of(swap, turn, turn).sample(RUN, torch.zeros(SHAPE), noise_of())
    assert turn.on_step.seen == [(step, 8) for step in range(8)]
    assert unet.calls == 8


def test_a_model_that_takes_over_from_itself_jointly_changes_nothing() -> None:
    turn = formula_turn(Formula(), formula_prompts())
    relay = relay_of(RefinerSwap.JOINT, turn, turn)
    shared = relay.sample(RUN, torch.zeros(SHAPE), noise_of())
    assert torch.equal(shared, sample(RUN, turn, torch.zeros(SHAPE), noise_of()))


@pytest.mark.parametrize("swap", list(RefinerSwap))
def test_a_switch_beyond_the_last_step_leaves_all_of_them_to_the_first_model(
    swap: RefinerSwap,
) -> None:
    refiner = Formula(0.3)
    turn = formula_turn(Formula(), formula_prompts())
    last = formula_turn(refiner, formula_prompts())
    relay = Relay(first=turn, last=last, swap=swap, switch_step=18)
    shared = relay.sample(RUN, torch.zeros(SHAPE), noise_of())
    torch.testing.assert_close(shared, sample(RUN, turn, torch.zeros(SHAPE), noise_of()))
    assert refiner.calls == 0


@pytest.mark.parametrize("swap", list(RefinerSwap))
def test_each_model_has_its_changes_on_while_it_works_only(swap: RefinerSwap) -> None:
    attached: list[str] = []
    during: dict[str, set[str]] = {"base": set(), "refiner": set()}

    @contextmanager
    def attach(name: str) -> Iterator[None]:
        attached.append(name)
        yield
        attached.remove(name)

    class Watched(Formula):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def __call__(self, *args: Tensor, **inputs: Any) -> tuple[Tensor]:
            during[self.name].add(",".join(attached))
            return super().__call__(*args, **inputs)

    turns = [
        formula_turn(Watched(name), formula_prompts(), attached=lambda name=name: attach(name))
        for name in during
    ]
    relay_of(swap, *turns).sample(RUN, torch.zeros(SHAPE), noise_of())
    assert during == {"base": {"base"}, "refiner": {"refiner"}}
    assert attached == []


@pytest.mark.parametrize("swap", list(RefinerSwap))
def test_changes_come_off_when_a_shared_run_fails(swap: RefinerSwap) -> None:
    attached: list[str] = []

    @contextmanager
    def attach() -> Iterator[None]:
        attached.append("change")
        try:
            yield
        finally:
            attached.clear()

    class Broken(Formula):
        def __call__(self, *_args: Tensor, **_inputs: Any) -> tuple[Tensor]:
            raise RuntimeError("broken")

    turns = [
        formula_turn(unet, formula_prompts(), attached=attach) for unet in (Formula(), Broken())
    ]
    with pytest.raises(RuntimeError, match="broken"):
        relay_of(swap, *turns).sample(RUN, torch.zeros(SHAPE), noise_of())
    assert attached == []


@pytest.mark.parametrize("swap", list(RefinerSwap))
@pytest.mark.parametrize("sampler", list(Sampler))
def test_every_sampler_can_be_shared(sampler: Sampler, swap: RefinerSwap) -> None:
    turns = [formula_turn(Formula(weight), formula_prompts(), scale=1.0) for weight in (0.8, 0.3)]
    scheduler = Scheduler.SGM_UNIFORM if sampler is Sampler.TCD else Scheduler.KARRAS
    run = SamplingRun(sampler=sampler, scheduler=scheduler, steps=8)
    result = relay_of(swap, *turns).sample(run, torch.zeros(SHAPE), noise_of(run))
    assert bool(result.isfinite().all())


@pytest.mark.parametrize(
    ("name", "denoise", "part"),
    [
        ("xlrefiner_0_joint_sigmas0", 1.0, {}),
        ("xlrefiner_1_separate_sigmas0", 1.0, {"last_step": 4}),
        ("xlrefiner_1_separate_sigmas1", 1.0, {"first_step": 4}),
        ("sdxl_b_0_joint_sigmas0", 1.0, {}),
        ("sd15_0_joint_sigmas0", 1.0, {"last_step": 4, "to_zero": True}),
        ("sd15_1_joint_sigmas0", 0.85, {}),
        ("sd15_2_joint_sigmas0", 0.2, {}),
    ],
)
def test_each_model_walks_the_recorded_levels(
    name: str, denoise: float, part: dict[str, Any]
) -> None:
    run = SamplingRun(
        sampler=Sampler.DPMPP_2M_SDE_GPU, scheduler=Scheduler.KARRAS, steps=6, denoise=denoise
    )
    leg = make_leg(run, noise_model(run.scheduler).levels, **part)
    np.testing.assert_allclose(leg.sigmas, RECORDED[name], rtol=1e-6)


def test_after_a_vae_swap_the_second_model_walks_the_recorded_levels() -> None:
    sigmas = swap_sigmas(
        Scheduler.KARRAS, 6, first_step=4, sampler=Sampler.DPMPP_2M_SDE_GPU, is_sd15=True
    )
    np.testing.assert_allclose(sigmas, RECORDED["sd15_0_joint_sigmas1"], rtol=1e-6)
