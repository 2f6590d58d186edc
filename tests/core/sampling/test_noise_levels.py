"""Tables of noise levels against the recorded numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fooocus_core.choices import Scheduler
from fooocus_core.loading.checkpoint import Prediction
from fooocus_core.sampling.noise_levels import (
    DiscreteLevels,
    alphas_cumprod,
    distilled_levels,
    noise_model,
    standard_levels,
)
from fooocus_core.sampling.schedules import karras_sigmas
from tests.golden import assert_matches, load_arrays, load_json, random_array

RELATIVE = 1e-6
RECORDED = load_arrays("components/sigmas")
CHECKS = load_json("check-values-text-to-image")

MODELS = {
    "lcm": noise_model(Scheduler.LCM),
    "tcd": noise_model(Scheduler.TCD),
    "edm_playground_v2.5": noise_model(Scheduler.EDM_PLAYGROUND),
}


def test_the_standard_table_is_the_recorded_one() -> None:
    np.testing.assert_array_equal(standard_levels().sigmas, RECORDED["table_sigmas"])
    assert standard_levels().sigma_min == RECORDED["sigma_min"]
    assert standard_levels().sigma_max == RECORDED["sigma_max"]


def test_the_signal_shares_are_the_measured_ones() -> None:
    shares = alphas_cumprod()[[0, 1, 499, 998, 999]]
    np.testing.assert_allclose(
        shares, CHECKS["table"]["alphas_cumprod_0_1_499_998_999"], rtol=RELATIVE
    )


def test_timesteps_are_the_nearest_entries_in_log_space() -> None:
    timesteps = standard_levels().timestep(torch.tensor(RECORDED["probe_sigma"]))
    assert timesteps.tolist() == RECORDED["probe_timestep"].tolist()


def test_fractional_timesteps_interpolate_the_logarithm() -> None:
    sigmas = standard_levels().sigma(torch.tensor(RECORDED["probe_t"]))
    np.testing.assert_allclose(sigmas, RECORDED["probe_t_sigma"], rtol=RELATIVE)


def test_shares_of_the_run_become_levels() -> None:
    levels = [standard_levels().percent_to_sigma(p) for p in RECORDED["percent"].tolist()]
    np.testing.assert_allclose(levels, RECORDED["percent_sigma"], rtol=RELATIVE)


def test_shares_of_an_edm_run_fall_from_above_the_highest_level_to_zero() -> None:
    levels = noise_model(Scheduler.EDM_PLAYGROUND).levels
    shares = [levels.percent_to_sigma(p) for p in (0.0, 1e-9, 0.5, 1.0)]
    assert shares[0] > levels.sigma_max
    assert shares[1] == pytest.approx(levels.sigma_max)
    assert shares[2] == pytest.approx((0.002 * 120) ** 0.5, rel=1e-5)
    assert shares[3] == 0.0


@pytest.mark.parametrize("name", ["lcm", "tcd"])
def test_distilled_tables_are_the_recorded_ones(name: str) -> None:
    np.testing.assert_array_equal(MODELS[name].levels.sigmas, RECORDED[f"{name}_table"])


@pytest.mark.parametrize("name", MODELS)
def test_special_models_have_the_recorded_range_and_timesteps(name: str) -> None:
    levels = MODELS[name].levels
    assert levels.sigma_min == pytest.approx(float(RECORDED[f"{name}_sigma_min"]), rel=RELATIVE)
    assert levels.sigma_max == pytest.approx(float(RECORDED[f"{name}_sigma_max"]), rel=RELATIVE)
    timesteps = levels.timestep(torch.tensor(RECORDED["probe_sigma"]))
    np.testing.assert_allclose(
        timesteps, RECORDED[f"{name}_probe_timestep"], rtol=RELATIVE, atol=1e-7
    )


@pytest.mark.parametrize("sigma", ["0.7", "9.0"])
@pytest.mark.parametrize("name", MODELS)
def test_special_models_scale_input_and_read_output_as_recorded(name: str, sigma: str) -> None:
    model, level = MODELS[name], torch.tensor(float(sigma))
    x = torch.tensor(random_array(5, (1, 4, 8, 8)))
    output = torch.tensor(random_array(6, (1, 4, 8, 8)))
    assert_matches(model.scale_input(x, level), RECORDED[f"{name}_calc_input_{sigma}"], 1e-6)
    denoised = model.denoised(x, output, level)
    assert_matches(denoised, RECORDED[f"{name}_calc_denoised_{sigma}"], 1e-6)


def test_velocity_prediction_of_pure_noise_and_of_pure_signal() -> None:
    model, sigma = noise_model(Scheduler.KARRAS, Prediction.V), torch.tensor(2.0)
    clean, noise = (
        torch.tensor(random_array(5, (1, 4, 8, 8))),
        torch.tensor(random_array(6, (1, 4, 8, 8))),
    )
    alpha, spread = 1 / 5**0.5, 2 / 5**0.5
    velocity = alpha * noise - spread * clean
    assert_matches(model.denoised(clean + sigma * noise, velocity, sigma), clean.numpy(), 1e-5)


@pytest.mark.parametrize(
    ("scheduler", "prediction", "levels"),
    [
        pytest.param(Scheduler.KARRAS, Prediction.EPSILON, standard_levels(), id="noise"),
        pytest.param(Scheduler.KARRAS, Prediction.V, standard_levels(), id="velocity"),
        pytest.param(
            Scheduler.LCM, Prediction.V, distilled_levels(), id="lcm replaces the checkpoint's"
        ),
    ],
)
def test_the_scheduler_decides_the_table(
    scheduler: Scheduler, prediction: Prediction, levels: DiscreteLevels
) -> None:
    model = noise_model(scheduler, prediction)
    assert torch.equal(model.levels.sigmas, levels.sigmas)


def test_the_edm_model_gives_the_measured_values() -> None:
    measured, model = CHECKS["edm"], MODELS["edm_playground_v2.5"]
    sigmas = karras_sigmas(30, model.levels.sigma_min, model.levels.sigma_max)[:3]
    timesteps = [float(model.levels.timestep(sigma)) for sigma in sigmas]
    two, output = torch.tensor(2.0), torch.tensor(0.3)
    np.testing.assert_allclose(timesteps, measured["c_noise_first3"], atol=1e-5)
    assert float(model.denoised(two, output, two)) == pytest.approx(
        measured["denoised_sigma2_x2_out0.3"], abs=1e-5
    )
    assert float(model.scale_input(two, two)) == pytest.approx(
        measured["input_sigma2_x2"], abs=1e-5
    )
