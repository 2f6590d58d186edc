"""Which files belong to a preset, and which to each feature, for fetching and for reports.

Knows neither what is inside the files nor how they are fetched.
"""

from __future__ import annotations

from fooocus_core.catalog import EXPANSION_FILES, EXPANSION_WEIGHTS, Catalog, ModelKind, choose_base
from fooocus_core.choices import ControlKind, DescribeKind, InpaintEngine, MaskModel, SamModel
from fooocus_core.config import CoreConfig
from fooocus_core.downloads import (
    INTERPOSER,
    SAFETY_CHECKER,
    SD15_PREVIEW,
    SDXL_PREVIEW,
    UPSCALER,
    ModelFile,
    describe_files,
    image_prompt_files,
    inpaint_files,
    listed_files,
    mask_files,
    published_files,
)
from fooocus_core.params import ControlParams, MaskParams
from fooocus_core.performance import MODES
from fooocus_core.presets import TINY_PRESET

_EXPANSION = ModelFile(kind=ModelKind.EXPANSION, name=EXPANSION_WEIGHTS)


def default_files(config: CoreConfig, catalog: Catalog) -> tuple[ModelFile, ...]:
    """What a request that names no file needs: base model, refiner, VAE, LoRAs.

    The default model gives way to a previous one that is there, unless the rules want it.
    """
    defaults = config.defaults
    loras = [lora.name for lora in defaults.loras]
    mode_lora = MODES[defaults.performance].lora
    names: list[tuple[ModelKind, str | None]] = [
        (ModelKind.CHECKPOINT, _base(config, catalog)),
        (ModelKind.CHECKPOINT, defaults.refiner),
        (ModelKind.VAE, defaults.vae),
        *((ModelKind.LORA, name) for name in loras),
        (ModelKind.LORA, mode_lora.name if mode_lora else None),
    ]
    return tuple(ModelFile(kind=kind, name=name) for kind, name in names if name is not None)


def preset_files(config: CoreConfig, catalog: Catalog) -> tuple[ModelFile, ...]:
    """What is fetched at the start: the default files, what lists name, and small companions.

    Nothing for the embedded model, which has all it needs.
    """
    if config.preset == TINY_PRESET:
        return ()
    replaced = config.defaults.model if _base(config, catalog) != config.defaults.model else None
    listed = [
        file
        for file in listed_files(config.downloads)
        if (file.kind, file.name) != (ModelKind.CHECKPOINT, replaced)
    ]
    # The other files of the expansion cannot be fetched, and without them it is of no use.
    expansion = [_EXPANSION] if catalog.missing_expansion_files() == [EXPANSION_WEIGHTS] else []
    files = [SDXL_PREVIEW, SD15_PREVIEW, INTERPOSER, *expansion, *default_files(config, catalog)]
    return tuple(dict.fromkeys([*files, *listed]))


def all_files(config: CoreConfig, catalog: Catalog) -> tuple[ModelFile, ...]:
    """Every published file, and those of the preset; nothing for the embedded model."""
    if config.preset == TINY_PRESET:
        return ()
    return tuple(dict.fromkeys([*preset_files(config, catalog), *published_files()]))


def feature_files() -> dict[str, tuple[ModelFile, ...]]:
    """The files of each feature beside the models, by what the feature is called."""
    modes = {
        f"performance {performance}": (ModelFile(kind=ModelKind.LORA, name=mode.lora.name),)
        for performance, mode in MODES.items()
        if mode.lora
    }
    engines = {
        f"inpaint engine {engine}": (UPSCALER, *inpaint_files(engine))
        for engine in InpaintEngine
        if inpaint_files(engine)
    }
    expansion = tuple(ModelFile(kind=ModelKind.EXPANSION, name=name) for name in EXPANSION_FILES)
    return {
        "previews": (SDXL_PREVIEW,),
        "refiners of SD 1.5": (INTERPOSER, SD15_PREVIEW),
        "prompt expansion": expansion,
        **modes,
        "upscaling": (UPSCALER,),
        **engines,
        **{
            f"image prompt {kind}": image_prompt_files(kind, ControlParams())
            for kind in ControlKind
        },
        **{f"describe {kind}": describe_files(kind) for kind in DescribeKind},
        **{
            f"mask {model}": mask_files(MaskParams(model=model))
            for model in MaskModel
            if model is not MaskModel.SAM
        },
        **{
            f"mask {MaskModel.SAM} {size}": mask_files(MaskParams(sam_model=size))
            for size in SamModel
        },
        "black_out_nsfw": (SAFETY_CHECKER,),
    }


def fitted_files() -> frozenset[ModelFile]:
    """Published files that are of no use beside the embedded ones.

    Some fit base models of the published size only, and those that cut out what a text names read
    it with the published vocabulary.
    """
    features = (
        *map(inpaint_files, InpaintEngine),
        *(image_prompt_files(kind, ControlParams()) for kind in ControlKind),
        *(mask_files(MaskParams(model=MaskModel.SAM, sam_model=size)) for size in SamModel),
    )
    mode_loras = (mode.lora for mode in MODES.values() if mode.lora)
    return frozenset(
        [
            *(file for files in features for file in files),
            *(ModelFile(kind=ModelKind.LORA, name=lora.name) for lora in mode_loras),
        ]
    )


def _base(config: CoreConfig, catalog: Catalog) -> str:
    present = choose_base(catalog, config.defaults)
    if present is None or config.fetching.wants_default_model:
        return config.defaults.model
    return present
