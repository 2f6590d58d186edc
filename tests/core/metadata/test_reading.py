"""Reading records back: what was asked comes out again, from either scheme."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fooocus_core.catalog import Catalog
from fooocus_core.choices import (
    EXPANSION_STYLE,
    RANDOM_STYLE,
    MetadataScheme,
    Performance,
    RefinerSwap,
    Sampler,
    Scheduler,
)
from fooocus_core.config import load_config
from fooocus_core.errors import InvalidInputError
from fooocus_core.hashes import HashCache
from fooocus_core.metadata.embed import EmbeddedText
from fooocus_core.metadata.fields import RunRecord, UsedLora, UsedModel
from fooocus_core.metadata.image_record import make_image_record
from fooocus_core.metadata.reading import RecordReader, StatedParams
from fooocus_core.params import (
    FreeUParams,
    GenerationParams,
    GuidanceParams,
    Lora,
    ModelParams,
    PromptParams,
    SamplingParams,
    Size,
)
from fooocus_core.performance import MODES, apply_performance
from fooocus_core.prompt.compose import LoraChoice, compose_prompts
from fooocus_core.prompt.styles import Style, StyleLibrary, load_styles
from fooocus_core.prompt.wildcards import Wildcards
from tests.golden import GOLDEN, load_json
from tests.golden_jobs import PICTURES_WITH_TEXTS, params_of_job

SCHEMES = list(MetadataScheme)
MODE_FILES = [mode.lora.name for mode in MODES.values() if mode.lora]
FILES = [
    "checkpoints/base.safetensors",
    "checkpoints/sub/twin.safetensors",
    "checkpoints/twin.safetensors",
    "checkpoints/tiny_sdxl.safetensors",
    "checkpoints/tiny_sdxl_b.safetensors",
    "checkpoints/tiny_sd15.safetensors",
    "checkpoints/tiny_refiner.safetensors",
    "loras/painting, late: 2.safetensors",
    "loras/sub/tiny_lora.safetensors",
    "loras/tiny_lora_b.safetensors",
    *(f"loras/{name}" for name in MODE_FILES),
    "vae/soft.safetensors",
]


@pytest.fixture(scope="module")
def styles() -> StyleLibrary:
    return load_styles(None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def make_reader(root: Path, styles: StyleLibrary) -> RecordReader:
    folders = load_config(root=root, environ={}).folders
    return RecordReader(
        catalog=Catalog(folders), hashes=HashCache(root / "hash_cache.txt"), styles=styles
    )


@pytest.fixture
def reader(root: Path, styles: StyleLibrary) -> RecordReader:
    return make_reader(root, styles)


def used(names: Iterable[Lora]) -> tuple[UsedLora, ...]:
    return tuple(UsedLora(name=lora.name, weight=lora.weight, hash="0123456789") for lora in names)


def record_of(
    asked: GenerationParams, styles: StyleLibrary, *, expansion: str | None = None, image: int = 0
) -> RunRecord:
    """The record of one picture of a request, as the run makes it."""
    params = apply_performance(asked)
    mode = MODES[params.sampling.performance]
    (*_, picture) = compose_prompts(
        params.prompt,
        seeds=[params.canvas.seed + i for i in range(image + 1)],
        loras=LoraChoice(),
        styles=styles,
        wildcards=Wildcards([GOLDEN / "data"]),
    ).pictures
    models = params.models
    return RunRecord(
        prompt=picture.log_positive,
        negative_prompt=picture.log_negative,
        full_prompt=picture.positive if expansion is None else (*picture.positive, expansion),
        full_negative_prompt=picture.negative,
        expansion=expansion,
        styles=picture.styles,
        performance=params.sampling.performance,
        steps=params.sampling.steps or mode.steps,
        size=params.canvas.size,
        guidance=params.guidance,
        default_adaptive_scale=7.0,
        base=UsedModel(name=models.base, hash="0123456789"),
        refiner=UsedModel(name=models.refiner, hash="9876543210") if models.refiner else None,
        refiner_switch=models.refiner_switch,
        refiner_swap=models.refiner_swap,
        switch_step=params.sampling.switch_step,
        clip_skip=models.clip_skip,
        sampler=params.sampling.sampler,
        scheduler=params.sampling.scheduler,
        vae=models.vae,
        seed=picture.seed,
        freeu=params.freeu,
        loras=used([*models.loras, *([mode.lora] if mode.lora else [])]),
        scheme=MetadataScheme.FOOOCUS,
    )


def embed(record: RunRecord, scheme: MetadataScheme) -> EmbeddedText:
    return EmbeddedText(text=make_image_record(replace(record, scheme=scheme)).text, scheme=scheme)


def again(stated: StatedParams, base: str = "base.safetensors") -> GenerationParams:
    """What would be asked by what the picture says, over the usual defaults."""
    asked = GenerationParams(models=ModelParams(base=base))
    return replace(
        asked,
        prompt=replace(asked.prompt, **stated.prompt),
        models=replace(asked.models, **stated.models),
        canvas=replace(asked.canvas, **stated.canvas),
        sampling=replace(asked.sampling, **stated.sampling),
        guidance=replace(asked.guidance, **stated.guidance),
        freeu=stated.freeu,
    )


def asked(**parts: Any) -> GenerationParams:
    return GenerationParams(**{"models": ModelParams(base="base.safetensors"), **parts})


REQUESTS = {
    "plain": asked(),
    "prompts": asked(prompt=PromptParams(positive='a "cat": x\n\\ y, é 猫', negative="b, c\nd: e")),
    "quoted prompt": asked(prompt=PromptParams(positive='"a cat"', negative='"')),
    "styles": asked(
        prompt=PromptParams(
            positive="a cat, on a mat\nand a dog",
            negative="blurry",
            styles=("Fooocus Enhance", "Fooocus Sharp", "SAI Anime", "Fooocus Negative"),
        )
    ),
    "styles without prompt": asked(prompt=PromptParams(styles=("Fooocus Sharp", "SAI Anime"))),
    "styles without a place": asked(
        prompt=PromptParams(positive="a cat", styles=("Fooocus Negative", "Fooocus Enhance"))
    ),
    "a style twice": asked(
        prompt=PromptParams(positive="a cat", styles=("SAI Anime", "SAI Anime"))
    ),
    "LoRAs": asked(
        models=ModelParams(
            base="base.safetensors",
            loras=(
                Lora(name="sub/tiny_lora.safetensors", weight=-0.25),
                Lora(name="painting, late: 2.safetensors", weight=1e-05),
                Lora(name="sub/tiny_lora.safetensors", weight=2.0),
            ),
        )
    ),
    "seed above 2^53": asked(
        canvas=replace(asked().canvas, seed=2**63 - 1, size=Size(704, 1408)),
    ),
    "numbers": asked(
        guidance=GuidanceParams(
            scale=9.5,
            adaptive_scale=5.0,
            sharpness=15.0,
            size_scale_positive=1.2,
            size_scale_negative=0.9,
            size_scale_end=0.6,
        ),
        sampling=SamplingParams(
            performance=Performance.QUALITY,
            sampler=Sampler.HEUNPP2,
            scheduler=Scheduler.EDM_PLAYGROUND,
            steps=7,
        ),
        freeu=FreeUParams(b1=1.1, b2=1.2, s1=0.8, s2=0.6),
    ),
    "files": asked(
        models=ModelParams(base="tiny_sdxl_b.safetensors", vae="soft.safetensors", clip_skip=1)
    ),
    "refiner": asked(
        models=ModelParams(
            base="base.safetensors",
            refiner="tiny_refiner.safetensors",
            refiner_swap=RefinerSwap.VAE,
        ),
        sampling=SamplingParams(switch_step=20),
    ),
}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("request_name", REQUESTS)
def test_what_was_asked_is_read_again(
    reader: RecordReader, styles: StyleLibrary, request_name: str, scheme: MetadataScheme
) -> None:
    wanted = REQUESTS[request_name]
    if scheme is MetadataScheme.A1111 and wanted.sampling.sampler is Sampler.DPMPP_2M_SDE_GPU:
        # The scheme has one label for the two names of this sampler.
        wanted = replace(wanted, sampling=replace(wanted.sampling, sampler=Sampler.DPMPP_2M_SDE))
    stated = reader.read(embed(record_of(REQUESTS[request_name], styles), scheme))
    assert stated.warnings == ()
    assert stated.scheme is scheme
    assert again(stated) == wanted


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("performance", list(Performance))
def test_what_a_mode_sets_itself_is_not_stated(
    reader: RecordReader, styles: StyleLibrary, performance: Performance, scheme: MetadataScheme
) -> None:
    lora = Lora(name="tiny_lora_b.safetensors", weight=0.5)
    wanted = asked(
        sampling=SamplingParams(performance=performance),
        models=ModelParams(base="base.safetensors", loras=(lora,)),
    )
    stated = reader.read(embed(record_of(wanted, styles), scheme))
    assert stated.sampling["performance"] is performance
    assert stated.sampling["steps"] is None
    assert stated.models["loras"] == (lora,)
    forces = MODES[performance].lora is not None
    assert ("sampler" in stated.sampling) is not forces
    assert ("refiner" in stated.models) is not forces
    assert (dict(stated.guidance) == {}) is forces
    assert apply_performance(again(stated)).guidance == apply_performance(wanted).guidance


def test_the_lora_of_a_mode_stays_if_it_was_asked_for_as_well(
    reader: RecordReader, styles: StyleLibrary
) -> None:
    own = MODES[Performance.LIGHTNING].lora
    assert own is not None
    wanted = asked(
        sampling=SamplingParams(performance=Performance.LIGHTNING, steps=6),
        models=ModelParams(base="base.safetensors", loras=(own,)),
    )
    stated = reader.read(embed(record_of(wanted, styles), MetadataScheme.A1111))
    assert stated.models["loras"] == (own,)
    assert stated.sampling["steps"] == 6


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("image", [0, 1])
def test_random_choices_are_read_as_they_fell(
    reader: RecordReader, styles: StyleLibrary, scheme: MetadataScheme, image: int
) -> None:
    prompt = PromptParams(
        positive="a __place__ near the [[river, lake]]\n__hue__ sky",
        negative="__hue__",
        styles=("Fooocus Sharp", RANDOM_STYLE, RANDOM_STYLE),
    )
    record = record_of(asked(prompt=prompt), styles, image=image)
    stated = reader.read(embed(record, scheme))
    assert stated.warnings == ()
    assert stated.prompt["styles"] == record.styles
    assert (stated.prompt["positive"], stated.prompt["negative"]) == (
        record.prompt,
        record.negative_prompt,
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("names", [(), ("Fooocus Sharp",), ("Fooocus Negative", "SAI Anime")])
def test_an_expansion_puts_its_style_first(
    reader: RecordReader, styles: StyleLibrary, names: tuple[str, ...], scheme: MetadataScheme
) -> None:
    prompt = PromptParams(positive="A cat.\nextra", styles=names)
    record = record_of(asked(prompt=prompt), styles, expansion="A cat, sharp, smooth, great")
    stated = reader.read(embed(record, scheme))
    assert stated.warnings == ()
    assert stated.prompt["styles"] == (EXPANSION_STYLE, *names)


def test_every_style_is_found_alone_and_beside_others(
    reader: RecordReader, styles: StyleLibrary
) -> None:
    missed = []
    for index, name in enumerate(styles.names):
        names = (name, styles.names[index - 1], name)
        prompt = PromptParams(positive="a cat, (sitting:1.2)", negative="x", styles=names)
        stated = reader.read(embed(record_of(asked(prompt=prompt), styles), MetadataScheme.A1111))
        if stated.prompt["styles"] != names:
            missed.append(name)
    assert missed == []


def test_a_text_that_no_styles_make_is_read_without_styles_and_says_so(
    reader: RecordReader, styles: StyleLibrary
) -> None:
    record = replace(record_of(asked(), styles), prompt="a cat", full_prompt=("ink of a cat",))
    stated = reader.read(embed(record, MetadataScheme.A1111))
    assert stated.prompt["styles"] == ()
    assert "styles" in stated.warnings[0]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_prompt_that_is_read_differently_again_is_warned_about(
    reader: RecordReader, styles: StyleLibrary, scheme: MetadataScheme
) -> None:
    # A wildcard's line may hold what would be taken for syntax if it were typed.
    text = "a <lora:tiny_lora_b:1> cat"
    record = replace(record_of(asked(), styles), prompt=text, full_prompt=(text,))
    (warning,) = reader.read(embed(record, scheme)).warnings
    assert "other texts" in warning


def test_a_switch_of_a_refiner_that_a_scheme_does_not_tell_is_warned_about(
    reader: RecordReader, styles: StyleLibrary
) -> None:
    models = ModelParams(base="base.safetensors", refiner="tiny_refiner.safetensors")
    record = record_of(asked(models=models), styles)
    assert reader.read(embed(record, MetadataScheme.FOOOCUS)).warnings == ()
    (warning,) = reader.read(embed(record, MetadataScheme.A1111)).warnings
    assert "at which step the refiner takes over" in warning


@pytest.mark.parametrize("name", ["sub/twin.safetensors", "twin.safetensors"])
def test_the_hash_decides_between_files_of_one_name(
    reader: RecordReader, root: Path, styles: StyleLibrary, name: str
) -> None:
    digits = HashCache(root / "other.txt").short_hash(root / "models/checkpoints" / name)
    record = replace(record_of(asked(), styles), base=UsedModel(name=name, hash=digits))
    stated = reader.read(embed(record, MetadataScheme.FOOOCUS))
    assert stated.models["base"] == name
    assert stated.warnings == ()


def test_files_of_one_name_and_another_hash_are_warned_about(
    reader: RecordReader, styles: StyleLibrary
) -> None:
    record = replace(record_of(asked(), styles), base=UsedModel(name="twin.pt", hash="none"))
    stated = reader.read(embed(record, MetadataScheme.FOOOCUS))
    assert stated.models["base"] == "sub/twin.safetensors"
    assert "2 files 'twin'" in stated.warnings[0]


def test_an_unknown_file_keeps_its_stem_and_is_warned_about(
    reader: RecordReader, styles: StyleLibrary
) -> None:
    record = replace(
        record_of(asked(), styles),
        base=UsedModel(name="away.safetensors", hash="0123456789"),
        loras=used([Lora(name="gone.safetensors", weight=1.0)]),
    )
    stated = reader.read(embed(record, MetadataScheme.A1111))
    assert stated.models["base"] == "away"
    assert stated.models["loras"] == (Lora(name="gone", weight=1.0),)
    assert ["'gone'" in text or "'away'" in text for text in stated.warnings] == [True, True]


@pytest.mark.parametrize(("name", "image"), PICTURES_WITH_TEXTS)
def test_recorded_pictures_are_read_as_they_were_asked_for(
    root: Path, name: str, image: int
) -> None:
    job = load_json(f"jobs/{name}/job")
    library = load_styles(GOLDEN / "data")
    recorded = job["images"][image]
    embedded = EmbeddedText(text=recorded["embedded"], scheme=None)
    stated = make_reader(root, library).read(embedded)
    task = recorded["task"]
    ran = [EXPANSION_STYLE] if task["expansion"] else []
    wanted = apply_performance(params_of_job(job))
    made = apply_performance(again(stated))
    assert stated.warnings == ()
    assert stated.scheme is MetadataScheme.FOOOCUS
    assert list(made.prompt.styles) == [*ran, *task["styles"]]
    assert made.canvas.seed == task["task_seed"]
    assert made.guidance == wanted.guidance
    assert made.sampling.performance is wanted.sampling.performance
    assert (made.sampling.sampler, made.sampling.scheduler) == (
        wanted.sampling.sampler,
        wanted.sampling.scheduler,
    )
    assert (made.sampling.steps or MODES[made.sampling.performance].steps) == job["final_steps"]
    assert made.freeu == wanted.freeu
    assert (made.models.base, made.models.refiner) == (wanted.models.base, wanted.models.refiner)
    assert made.models.clip_skip == wanted.models.clip_skip
    loras = [[Path(lora.name).stem, lora.weight] for lora in made.models.loras]
    own = MODES[made.sampling.performance].lora
    kept = json.loads(recorded["embedded"])["loras"][: -1 if own else None]
    assert loras == [[stem, weight] for stem, weight, _ in kept]


def test_the_example_of_the_reference_is_read(reader: RecordReader) -> None:
    text = (
        "a cat, styled\nNegative prompt: none\n"
        "Steps: 30, Sampler: DPM++ 2M SDE Karras, Seed: 12345, Size: 1152x896, CFG scale: 4.0, "
        'Sharpness: 2.0, ADM Guidance: "(1.5, 0.8, 0.3)", Model: base, '
        "Model hash: cae662172f, Performance: Speed, Scheduler: karras, VAE: Default (model), "
        "Raw prompt: a cat, Raw negative prompt: , Clip skip: 2, "
        'Lora hashes: "tiny_lora_b: d339f720de: 0.1", Version: Fooocus v2.5.5'
    )
    stated = reader.read(EmbeddedText(text=text, scheme=None))
    assert stated.scheme is MetadataScheme.A1111
    assert stated.models["loras"] == (Lora(name="tiny_lora_b.safetensors", weight=0.1),)
    assert stated.canvas == {"size": Size(1152, 896), "seed": 12345}
    assert stated.models["clip_skip"] == 2


def test_a_text_of_another_program_is_read_as_far_as_it_goes(reader: RecordReader) -> None:
    text = (
        "a cat, <lora:x:0.5>\nNegative prompt: dull\nSteps: 20, Sampler: Euler a, "
        "CFG scale: 7, Seed: 5, Size: 512x768, Model hash: 0123456789, Model: base, "
        'Lora hashes: "x: 1234567890"'
    )
    stated = reader.read(EmbeddedText(text=text, scheme=None))
    assert stated.prompt["negative"] == "dull"
    assert stated.sampling["sampler"] is Sampler.EULER_ANCESTRAL
    assert (stated.sampling["steps"], "performance" in stated.sampling) == (20, False)
    assert stated.models["loras"] == ()
    assert stated.models["clip_skip"] == 1


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("a holiday at the sea", None),
        ("{}", None),
        ('{"some": "object"}', None),
        ("[1, 2]", None),
        ('{"prompt": "a"', None),
        ("a text, b: c", MetadataScheme.FOOOCUS),
        ('{"prompt": "a cat"}', MetadataScheme.A1111),
        ("[" * 100_000, None),
        ("x" * 1_000_001, None),
    ],
)
def test_other_texts_are_refused(
    reader: RecordReader, text: str, scheme: MetadataScheme | None
) -> None:
    with pytest.raises(InvalidInputError, match="record"):
        reader.read(EmbeddedText(text=text, scheme=scheme))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "-1"),
        ("seed", str(2**63)),
        ("seed", 10**400),
        ("steps", True),
        ("steps", "0"),
        ("guidance_scale", "nan"),
        ("guidance_scale", 10**400),
        ("sharpness", [2.0]),
        ("resolution", "(1152)"),
        ("adm_guidance", "(1.5, 0.8)"),
        ("freeu", "x"),
        ("styles", "[" * 5000),
        ("styles", "-" * 10_000),
        ("styles", "[1]"),
        ("styles", "x" * 30_000),
        ("sampler", "fast"),
        ("performance", "Slow"),
        ("performance", []),
        ("refiner_swap_method", "later"),
        ("loras", [["a", 0.5]]),
        ("loras", "a"),
        ("prompt", 1),
        ("vae", 1),
        ("base_model", 1),
    ],
)
def test_a_value_that_makes_no_sense_is_left_out_and_named(
    reader: RecordReader, key: str, value: Any
) -> None:
    text = json.dumps({"steps": 5, key: value})
    stated = reader.read(EmbeddedText(text=text, scheme=None))
    (warning,) = stated.warnings
    assert f"'s {key} is not usable" in warning


def test_half_a_surrogate_pair_does_not_survive(reader: RecordReader) -> None:
    stated = reader.read(EmbeddedText(text='{"prompt": "a\\ud800", "loras": []}', scheme=None))
    assert stated.prompt["positive"] == "a?"


@pytest.mark.parametrize(
    "text",
    [
        "a" * 190_000,
        "ab: " * 45_000,
        'ab: "' * 35_000,
        'ab: "\\' * 30_000,
        " " * 90_000 + "a: b, " * 15_000,
    ],
    ids=["one word", "labels", "quotes", "escapes", "blanks"],
)
def test_hostile_texts_are_read_in_time(reader: RecordReader, text: str) -> None:
    pairs = "\nSteps: 1, Seed: 2, Size: 64x64, " + text
    stated = reader.read(EmbeddedText(text="x" + pairs, scheme=MetadataScheme.A1111))
    assert stated.prompt["positive"] == "x"


def test_a_search_that_leads_nowhere_ends_in_time(root: Path) -> None:
    library = StyleLibrary(
        [
            Style(name="one", positive="a", negative="b"),
            Style(name="two", positive="a, a", negative="b"),
            Style(name="three", positive="a", negative="b, b"),
        ]
    )
    text = (
        f"cat, {'a, ' * 1000}z\nNegative prompt: {'b, ' * 1000}y\n"
        "Steps: 1, Seed: 2, Size: 64x64, Raw prompt: cat, Raw negative prompt: "
    )
    stated = make_reader(root, library).read(EmbeddedText(text=text, scheme=None))
    assert stated.prompt["styles"] == ()
    assert len(stated.warnings) == 1
