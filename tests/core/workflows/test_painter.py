"""Pictures painted by base and refiner through the engine: what the recorded jobs leave open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fooocus_core.catalog import Catalog
from fooocus_core.choices import RefinerSwap, Sampler
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.downloads import INTERPOSER, SD15_PREVIEW, SDXL_PREVIEW
from fooocus_core.engine import Engine, create_engine
from fooocus_core.errors import FooocusError, ModelFileError, ModelNotFoundError, RunCancelled
from fooocus_core.events import CancelToken, Event, Preview
from fooocus_core.hashes import HashCache
from fooocus_core.loading.store import ModelStore
from fooocus_core.params import (
    CanvasParams,
    FreeUParams,
    GenerationParams,
    Image,
    Lora,
    ModelParams,
    PromptParams,
    SamplingParams,
    Size,
)
from fooocus_core.plan import Library, make_plan
from fooocus_core.prompt.styles import load_styles
from fooocus_core.prompt.wildcards import Wildcards
from fooocus_core.sampling.refiner import Model
from fooocus_core.text.tokens import Tokenizer
from fooocus_core.unet.freeu import FreeU
from fooocus_core.workflows.auxiliary import AuxiliaryNetworks
from fooocus_core.workflows.painter import make_painter
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.resources import Resources
from tests.networks import CPU_PLAN

BASE, BASE_B = "tiny_sdxl.safetensors", "tiny_sdxl_b.safetensors"
XL_REFINER, SD15 = "tiny_refiner.safetensors", "tiny_sd15.safetensors"
LORA = Lora(name="tiny_lora.safetensors", weight=0.8)


@pytest.fixture
def models(weights: Path, tmp_path: Path) -> Path:
    """A models root of its own, so that files can be taken away."""
    root = tmp_path / "models"
    for file in weights.rglob("*"):
        if file.parent.name in {"checkpoints", "loras", "vae_approx"}:
            link = root / file.relative_to(weights)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    return root


def make_engine(root: Path, models: Path) -> Engine:
    (root / "outputs").mkdir()
    return create_engine(load_config(root=root, models_path=models, environ={}), DeviceOptions())


@pytest.fixture(scope="module")
def engine(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The engine of all tests that take no file away: no job changes a later one."""
    return make_engine(tmp_path_factory.mktemp("root"), weights)


@pytest.fixture
def own_engine(models: Path, tmp_path: Path) -> Engine:
    """One that has read none of its files yet."""
    return make_engine(tmp_path, models)


def asked(refiner: str | None, **changes: object) -> GenerationParams:
    models = ModelParams(base=BASE, refiner=refiner)
    return GenerationParams(
        models=replace(models, **changes),
        prompt=PromptParams(positive="a cat on a roof"),
        canvas=CanvasParams(size=Size(64, 64), seed=3),
        sampling=SamplingParams(steps=4, switch_step=2),
    )


def paint(engine: Engine, params: GenerationParams) -> Image:
    (made,) = engine.generate(params, [].append, CancelToken())
    return made.image


@pytest.mark.slow
@pytest.mark.parametrize("swap", list(RefinerSwap))
def test_a_refiner_changes_the_picture(engine: Engine, swap: RefinerSwap) -> None:
    alone = paint(engine, asked(None))
    shared = paint(engine, asked(XL_REFINER, refiner_swap=swap))
    assert shared.shape == alone.shape
    assert not np.array_equal(shared, alone)


def test_the_order_of_jobs_makes_no_difference(engine: Engine) -> None:
    jobs = [asked(SD15), asked(BASE_B, loras=(LORA,)), asked(None)]
    there = [paint(engine, job) for job in jobs]
    back = [paint(engine, job) for job in reversed(jobs)]
    assert all(np.array_equal(a, b) for a, b in zip(there, reversed(back), strict=True))


def test_without_a_refiner_the_base_goes_on_where_it_stopped(engine: Engine) -> None:
    # Euler steps remember nothing of the steps before.
    euler = replace(asked(None).sampling, sampler=Sampler.EULER)
    whole, parts = (
        paint(engine, replace(asked(None, refiner_swap=swap), sampling=euler)).astype(int)
        for swap in (RefinerSwap.JOINT, RefinerSwap.SEPARATE)
    )
    assert np.abs(whole - parts).max() <= 1


def test_freeu_is_for_the_base_only(weights: Path, tmp_path: Path) -> None:
    config = load_config(root=tmp_path, models_path=weights, environ={})
    resources = Resources(
        config=config,
        catalog=Catalog(config.folders),
        hashes=HashCache(tmp_path / "hashes"),
        models=ModelStore(CPU_PLAN),
        auxiliary=AuxiliaryNetworks(CPU_PLAN, Catalog(config.folders)),
        tokenizer=Tokenizer(),
    )
    freeu = FreeUParams(b1=1.4)
    library = Library(
        styles=load_styles(None),
        wildcards=Wildcards(config.folders.wildcards),
        catalog=resources.catalog,
        max_loras=5,
    )
    plan = make_plan(replace(asked(BASE_B), freeu=freeu), library)
    reporter = Reporter([].append, CancelToken())
    loaded = resources.prepare(plan, reporter)
    painter = make_painter(plan, loaded, resources, reporter, reporter.sampling(4, 1))
    patches = {model: artist.patches for model, artist in painter.artists.items()}
    assert patches == {Model.BASE: (FreeU(params=freeu),), Model.REFINER: ()}


def test_after_a_vae_swap_previews_are_those_of_sd15(own_engine: Engine, models: Path) -> None:
    (models / "vae_approx" / SD15_PREVIEW.name).unlink()
    events: list[Event] = []
    list(own_engine.generate(asked(SD15), events.append, CancelToken()))
    assert sum(isinstance(event, Preview) for event in events) == 2


def test_before_a_vae_swap_previews_are_those_of_sdxl(own_engine: Engine, models: Path) -> None:
    (models / "vae_approx" / SDXL_PREVIEW.name).unlink()
    events: list[Event] = []
    list(own_engine.generate(asked(SD15), events.append, CancelToken()))
    assert sum(isinstance(event, Preview) for event in events) == 2


def test_a_missing_interposer_fails_the_job_and_not_the_next(
    own_engine: Engine, models: Path
) -> None:
    (models / "vae_approx" / INTERPOSER.name).unlink()
    with pytest.raises(ModelNotFoundError, match=INTERPOSER.name):
        paint(own_engine, asked(SD15))
    assert paint(own_engine, asked(XL_REFINER)).shape == (64, 64, 3)


@pytest.mark.parametrize("base", [XL_REFINER, SD15])
def test_a_base_model_of_another_kind_fails_the_job_and_not_the_next(
    engine: Engine, base: str
) -> None:
    message = "^You have selected base model other than SDXL. This is not supported yet.$"
    with pytest.raises(ModelFileError, match=message):
        paint(engine, asked(None, base=base))
    assert paint(engine, asked(None)).shape == (64, 64, 3)


@pytest.mark.parametrize(
    "swap",
    [
        RefinerSwap.JOINT,
        pytest.param(RefinerSwap.SEPARATE, marks=pytest.mark.slow),
        RefinerSwap.VAE,
    ],
)
def test_a_run_cancelled_after_the_switch_changes_nothing_for_the_next(
    engine: Engine, swap: RefinerSwap
) -> None:
    job = replace(asked(BASE_B, refiner_swap=swap), freeu=FreeUParams(b1=1.4))
    expected = paint(engine, job)
    cancel, previews = CancelToken(), []

    def stop_late(event: Event) -> None:
        previews.append(isinstance(event, Preview))
        if sum(previews) == 3:
            cancel.cancel()

    with pytest.raises(RunCancelled):
        list(engine.generate(job, stop_late, cancel))
    assert np.array_equal(paint(engine, job), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"freeu": FreeUParams(b1=1e30, b2=1e30, s1=1e30, s2=1e30)},
        {"prompt": PromptParams(positive="(a:3e38) b")},
    ],
    ids=["freeu", "weight"],
)
def test_values_that_are_not_finite_give_an_error_and_no_picture(
    engine: Engine, changes: dict[str, Any]
) -> None:
    with pytest.raises(FooocusError, match="not finite"):
        paint(engine, replace(asked(None), **changes))


def test_without_the_default_model_a_previous_one_is_loaded(weights: Path, tmp_path: Path) -> None:
    environ = {"default_model": "no.safetensors", "previous_default_models": f'["{BASE}"]'}
    create_engine(
        load_config(root=tmp_path, models_path=weights, environ=environ), DeviceOptions()
    ).load()
