"""The record of a picture, compared with recorded ones in both schemes."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from typing import Any

import pytest

from fooocus_core.choices import (
    MetadataScheme,
    RefinerSwap,
    Sampler,
    Scheduler,
)
from fooocus_core.metadata.fields import RunRecord, UsedLora, UsedModel, make_rows
from fooocus_core.metadata.image_record import make_image_record
from fooocus_core.params import FreeUParams, GuidanceParams, Size
from fooocus_core.performance import apply_performance
from tests.golden import load_json
from tests.golden_jobs import PICTURES_WITH_TEXTS, composed_of_job, params_of_job

HASHES = load_json("weights_sha256")


def used_model(name: str) -> UsedModel:
    return UsedModel(name=name, hash=HASHES[f"checkpoints/{name}"][:10])


def recorded_run(job: dict[str, Any], image: int) -> RunRecord:
    """How a recorded picture was made, from what was asked for.

    Only what the run itself finds out is taken from the recording: the words of the expansion, and
    the size and steps that a picture given decides on.
    """
    task = job["images"][image]["task"]
    rows = {key: value for _, key, value in job["images"][image]["metadata"]}
    params = apply_performance(params_of_job(job))
    picture, loras = composed_of_job(job, image)
    expansion = task["expansion"] or None
    return RunRecord(
        prompt=picture.log_positive,
        negative_prompt=picture.log_negative,
        full_prompt=picture.positive if expansion is None else (*picture.positive, expansion),
        full_negative_prompt=picture.negative,
        expansion=expansion,
        styles=picture.styles,
        performance=params.sampling.performance,
        steps=job["final_steps"],
        size=Size(*ast.literal_eval(rows["resolution"])),
        guidance=params.guidance,
        default_adaptive_scale=7.0,
        base=used_model(params.models.base),
        refiner=used_model(params.models.refiner) if params.models.refiner else None,
        refiner_switch=params.models.refiner_switch,
        refiner_swap=params.models.refiner_swap,
        switch_step=params.sampling.switch_step,
        clip_skip=params.models.clip_skip,
        sampler=params.sampling.sampler,
        scheduler=params.sampling.scheduler,
        vae=params.models.vae,
        seed=picture.seed,
        freeu=params.freeu,
        loras=tuple(
            UsedLora(name=lora.name, weight=lora.weight, hash=HASHES[f"loras/{lora.name}"][:10])
            for lora in loras
        ),
        scheme=MetadataScheme.FOOOCUS,
    )


def example(**changes: Any) -> RunRecord:
    """The example of the specification's sections on the two schemes."""
    record = replace(
        recorded_run(load_json("jobs/t2i_plain/job"), 0),
        prompt="a cat",
        negative_prompt="",
        full_prompt=("a cat", "styled P", "a cat, sharp focus"),
        full_negative_prompt=("neg one", "neg two"),
        expansion="a cat, sharp focus",
        styles=("Fooocus Enhance", "Fooocus Sharp"),
        steps=30,
        size=Size(1152, 896),
        base=UsedModel(name="juggernautXL_v8Rundiffusion.safetensors", hash="cae662172f"),
        refiner_switch=0.5,
        loras=(
            UsedLora(
                name="sub/sd_xl_offset_example-lora_1.0.safetensors", weight=0.1, hash="d339f720de"
            ),
        ),
    )
    return replace(record, **changes)


def last_line(**changes: Any) -> str:
    record = example(scheme=MetadataScheme.A1111, **changes)
    return make_image_record(record).text.splitlines()[-1]


@pytest.mark.parametrize(("name", "image"), PICTURES_WITH_TEXTS)
def test_rows_equal_the_recorded_ones(name: str, image: int) -> None:
    job = load_json(f"jobs/{name}/job")
    rows = make_rows(recorded_run(job, image))
    assert [list(row) for row in rows] == job["images"][image]["metadata"]


@pytest.mark.parametrize(("name", "image"), PICTURES_WITH_TEXTS)
def test_text_of_scheme_fooocus_equals_the_recorded_one(name: str, image: int) -> None:
    job = load_json(f"jobs/{name}/job")
    record = make_image_record(recorded_run(job, image))
    assert record.text == job["images"][image]["embedded"]
    assert record.scheme is MetadataScheme.FOOOCUS
    assert record.rows == make_rows(recorded_run(job, image))


def test_scheme_fooocus_shows_stems_hashes_and_maker() -> None:
    text = make_image_record(example(created_by="mé", vae="sub/v.pt.safetensors")).text
    values = json.loads(text)
    assert text.isascii()
    assert values["created_by"] == "mé"
    assert values["vae"] == "v.pt"
    assert values["base_model"] == "juggernautXL_v8Rundiffusion"
    assert values["loras"] == [["sd_xl_offset_example-lora_1.0", 0.1, "d339f720de"]]
    assert values["lora_combined_1"] == "sd_xl_offset_example-lora_1.0 : 0.1"
    assert values["styles"] == "['Fooocus V2', 'Fooocus Enhance', 'Fooocus Sharp']"


def test_scheme_a1111_equals_the_recorded_example() -> None:
    assert make_image_record(example(scheme=MetadataScheme.A1111)).text == (
        "a cat, styled P, a cat, sharp focus\n"
        "Negative prompt: neg one, neg two\n"
        "Steps: 30, Sampler: DPM++ 2M SDE Karras, Seed: 12345, Size: 1152x896, CFG scale: 4.0, "
        'Sharpness: 2.0, ADM Guidance: "(1.5, 0.8, 0.3)", Model: juggernautXL_v8Rundiffusion, '
        "Model hash: cae662172f, Performance: Speed, Scheduler: karras, VAE: Default (model), "
        "Raw prompt: a cat, Raw negative prompt: , Clip skip: 2, "
        'Lora hashes: "sd_xl_offset_example-lora_1.0: d339f720de", '
        'Lora weights: "sd_xl_offset_example-lora_1.0: 0.1", Version: Fooocus v2.5.5'
    )


def test_scheme_a1111_without_negative_texts_has_two_lines() -> None:
    record = example(scheme=MetadataScheme.A1111, full_negative_prompt=("",))
    assert len(make_image_record(record).text.splitlines()) == 2


@pytest.mark.parametrize(
    ("sampler", "scheduler", "label"),
    [
        (Sampler.EULER, Scheduler.KARRAS, "Euler Karras"),
        (Sampler.EULER, Scheduler.NORMAL, "Euler"),
        (Sampler.DDPM, Scheduler.KARRAS, "ddpm"),
        (Sampler.UNI_PC_BH2, Scheduler.NORMAL, "uni_pc_bh2"),
    ],
)
def test_scheme_a1111_names_samplers_its_own_way(
    sampler: Sampler, scheduler: Scheduler, label: str
) -> None:
    assert f", Sampler: {label}, Seed" in last_line(sampler=sampler, scheduler=scheduler)


def test_scheme_a1111_mentions_what_is_not_usual() -> None:
    line = last_line(
        prompt="a\nb",
        negative_prompt="né, x",
        refiner=UsedModel(name="r.safetensors", hash="0123456789"),
        refiner_swap=RefinerSwap.VAE,
        switch_step=20,
        guidance=GuidanceParams(adaptive_scale=5.0),
        freeu=FreeUParams(),
        created_by="me",
        loras=(),
    )
    assert line.endswith(
        'Raw prompt: "a\\nb", Raw negative prompt: "né, x", Refiner: r, '
        "Refiner hash: 0123456789, Adaptive CFG: 5.0, Clip skip: 2, Overwrite Switch: 20, "
        'Refiner Swap Method: vae, FreeU: "(1.01, 1.02, 0.99, 0.95)", '
        "Version: Fooocus v2.5.5, User: me"
    )
