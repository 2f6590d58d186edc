"""Folders, defaults, download lists and device options of the pipeline.

Sources, later ones winning: built-in < ``default`` preset < ``config.txt`` < chosen preset <
environment. Knows nothing of HTTP options.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from fooocus_core.choices import InpaintEngine, Performance, Sampler, Scheduler
from fooocus_core.config_layers import BUILTIN, CONFIG_FILE, LayeredValues, read_layers
from fooocus_core.config_values import (
    MODEL_FOLDER_KEYS,
    VALUE_KEYS,
    Key,
    folder_path,
    folder_paths,
)
from fooocus_core.files import DATA_FOLDER
from fooocus_core.params import Lora, Size
from fooocus_core.presets import DEFAULT_PRESET, TINY_PRESET

TINY_MODELS = DATA_FOLDER / "tiny"
# Where the value of a flag comes from, the command line or its variable, is known to its reader.
FLAG = "flag"
MAX_LORAS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where files lie. Model folders are searched in order; the first one takes downloads."""

    checkpoints: tuple[Path, ...]
    loras: tuple[Path, ...]
    embeddings: tuple[Path, ...]
    vae: tuple[Path, ...]
    vae_approx: tuple[Path, ...]
    upscale_models: tuple[Path, ...]
    inpaint: tuple[Path, ...]
    controlnet: tuple[Path, ...]
    clip_vision: tuple[Path, ...]
    expansion: tuple[Path, ...]
    safety_checker: tuple[Path, ...]
    sam: tuple[Path, ...]
    wildcards: tuple[Path, ...]
    outputs: Path
    temp: Path
    cache: Path
    user_styles: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a request that leaves a value out gets. ``None`` = none / not overridden."""

    model: str
    previous_models: tuple[str, ...]
    refiner: str | None
    refiner_switch: float
    loras: tuple[Lora, ...]
    max_loras: int
    guidance_scale: float
    sharpness: float
    adaptive_scale: float
    sampler: Sampler
    scheduler: Scheduler
    performance: Performance
    steps: int | None
    switch_step: int | None
    upscale_strength: float | None
    size: Size
    styles: tuple[str, ...]
    prompt: str
    negative_prompt: str
    clip_skip: int
    vae: str | None
    inpaint_engine: InpaintEngine
    max_image_prompts: int
    censor: bool
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadLists:
    """File name -> address, as configuration and presets list them."""

    checkpoints: Mapping[str, str]
    loras: Mapping[str, str]
    embeddings: Mapping[str, str]
    vae: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRules:
    """Whether missing files are fetched, and from where.

    Attributes:
        is_allowed: ``False`` = nothing is ever fetched.
        skips_presets: Leave out models of the kinds that configuration and presets choose.
        wants_default_model: Fetch the default model even where a previous one can take its place.
        mirror: An http(s) address without a trailing slash that stands in for the hub's; ``None`` =
            the hub itself.
        pauses_s: How long to wait before each further attempt that gets no further than the last.
        silence_s: How long a server may say nothing before the connection counts as broken.
    """

    is_allowed: bool = False
    skips_presets: bool = False
    wants_default_model: bool = False
    mirror: str | None = None
    pauses_s: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0)
    silence_s: float = 20.0


class Precision(StrEnum):
    """Number formats a network's weights can be asked to have; the last two only a UNet or CLIP."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8_E4M3FN = "fp8-e4m3fn"
    FP8_E5M2 = "fp8-e5m2"


class AttentionKind(StrEnum):
    """Ways to compute attention; equal but for rounding, the later ones with less memory."""

    PYTORCH = "pytorch"
    SPLIT = "split"
    QUAD = "quad"


class MemoryMode(StrEnum):
    """How much device memory networks may take; none of them changes a number.

    ``GPU`` and ``HIGH`` leave every network on the device, ``NORMAL`` only those in use, ``LOW``
    and ``NO`` bring a UNet's weights there block by block and layer by layer.
    """

    GPU = "gpu"
    HIGH = "high-vram"
    NORMAL = "normal-vram"
    LOW = "low-vram"
    NO = "no-vram"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOptions:
    """What the start options say about device and number formats; ``None`` = decided by the device.

    Attributes:
        always_cpu: ``None`` uses a GPU if there is one; else the CPU, with this many threads
            (0 or less: torch's own count).
        all_in_fp32, all_in_fp16: One format for every part that has no option of its own.
        unet_in, vae_in: Format a network's weights are rounded to and kept in; it computes in the
            same one, or in a wider one if the device cannot compute well in it.
        clip_in: Format the text encoders' weights are rounded to; they compute in float32.
        upcasts_attention: Whether chunked attention computes scores in float32 for half formats.
        is_deterministic: Whether to use only operations that give the same bits every time.
        memory: Has no meaning without a GPU.
        offloads: Whether networks not in use leave the device; ``None`` = as ``memory`` says.
        model_cache: Bytes of main memory for models that are not in use; 0 = none, ``None`` =
            whatever leaves enough of it to everything else.
    """

    always_cpu: int | None = None
    all_in_fp32: bool = False
    all_in_fp16: bool = False
    unet_in: Precision | None = None
    vae_in: Precision | None = None
    clip_in: Precision | None = None
    vae_on_cpu: bool = False
    attention: AttentionKind = AttentionKind.PYTORCH
    upcasts_attention: bool = True
    is_deterministic: bool = False
    memory: MemoryMode = MemoryMode.NORMAL
    offloads: bool | None = None
    model_cache: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreConfig:
    """Every effective value of the pipeline, and where each came from.

    Attributes:
        preset: Name of the chosen preset.
        fetching: Set by whoever may use the network; nothing is fetched otherwise.
        values: Configuration key -> the value in effect, as the other attributes have it.
        sources: Configuration key -> name of the source its value came from.
        warnings: Values that were not usable, one sentence each.
    """

    preset: str
    folders: Folders
    defaults: Defaults
    downloads: DownloadLists
    values: Mapping[str, Any]
    sources: Mapping[str, str]
    warnings: tuple[str, ...]
    fetching: FetchRules = FetchRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where relative paths start, and the folders given on the command line."""

    root: Path
    is_tiny: bool
    models: Path | None
    styles: Path | None
    outputs: Path | None
    temp: Path | None


def load_config(
    *,
    root: Path,
    preset: str | None = None,
    models_path: Path | None = None,
    styles_path: Path | None = None,
    output_path: Path | None = None,
    temp_path: Path | None = None,
    environ: Mapping[str, str],
) -> CoreConfig:
    """Read every source of configuration. Writes nothing.

    Args:
        root: Project root: ``config.txt``, ``presets/``, ``models/`` ... lie there, and relative
            paths of files and environment start there.
        preset: Name of the chosen preset. ``None`` leaves ``config.txt`` above the default one.
        models_path: Root of all model folders that have no ``path_...`` key of their own.
        styles_path, output_path, temp_path: Win over every other source. These and
            ``models_path`` are relative to the working directory.
        environ: Environment variables: ``config_path``, and configuration keys by their names.

    Returns:
        The effective values. Files and values that cannot be used leave a sentence in ``warnings``
        and the built-in value in their place.

    Raises:
        InvalidInputError: There is no preset of that name; names those there are.
    """
    warnings: list[str] = []
    named_file = environ.get("config_path")
    config_file = root / (named_file or CONFIG_FILE)
    if named_file and not config_file.exists():
        warnings.append(f"config_path: there is no file {config_file}.")
    layers = read_layers(root=root, preset=preset, config_file=config_file, warn=warnings.append)
    source = LayeredValues(layers, environ)
    places = _Places(
        root=root.absolute(),
        is_tiny=preset == TINY_PRESET,
        models=models_path.absolute() if models_path else None,
        styles=styles_path.absolute() if styles_path else None,
        outputs=output_path.absolute() if output_path else None,
        temp=temp_path.absolute() if temp_path else None,
    )
    values = {name: source.read(name, key) for name, key in VALUE_KEYS.items()}
    folders, defaults = _read_folders(places, source), _make_defaults(values)
    used = {"default_loras": defaults.loras, "default_max_lora_number": defaults.max_loras}
    return CoreConfig(
        preset=preset or DEFAULT_PRESET,
        folders=folders,
        defaults=defaults,
        downloads=DownloadLists(
            checkpoints=values["checkpoint_downloads"],
            loras=values["lora_downloads"],
            embeddings=values["embeddings_downloads"],
            vae=values["vae_downloads"],
        ),
        values={**values, **used, **_folders_by_key(folders)},
        sources=source.sources,
        warnings=(*warnings, *source.warnings),
    )


def use_folders(
    config: CoreConfig, *, cache: Path | None = None, other_roots: Sequence[Path] = ()
) -> CoreConfig:
    """The same configuration with folders that no file names.

    Args:
        cache: Takes what can be made again, instead of the folder of results.
        other_roots: Project folders, as of another installation. Their ``models`` are searched
            after all others, in order; nothing is written there. Without meaning for the embedded
            model.
    """
    roots = () if config.preset == TINY_PRESET else tuple(root.absolute() for root in other_roots)
    models: dict[str, Any] = {
        field: (*getattr(config.folders, field), *(root / "models" / folder for root in roots))
        for field, folder in MODEL_FOLDER_KEYS.values()
    }
    kept = cache.absolute() if cache else config.folders.cache
    folders = replace(config.folders, cache=kept, **models)
    return replace(config, folders=folders, values={**config.values, **_folders_by_key(folders)})


def _read_folders(places: _Places, source: LayeredValues) -> Folders:
    default_styles = places.root / "sdxl_styles"
    styles = _read_folder("path_styles", places.styles, default_styles, places.root, source)
    default_temp = Path(tempfile.gettempdir(), "fooocus")
    wildcards = source.read("path_wildcards", Key(builtin="wildcards", read=folder_paths))
    is_default = source.sources["path_styles"] == BUILTIN
    outputs = _read_folder(
        "path_outputs", places.outputs, places.root / "outputs", places.root, source
    )
    return Folders(
        **{
            field: _read_model_folders(name, folder, places, source)
            for name, (field, folder) in MODEL_FOLDER_KEYS.items()
        },
        wildcards=(*(places.root / path for path in wildcards), DATA_FOLDER / "wildcards"),
        outputs=outputs,
        temp=_read_folder("temp_path", places.temp, default_temp, places.root, source),
        cache=outputs,
        user_styles=None if is_default and not styles.is_dir() else styles,
    )


def _folders_by_key(folders: Folders) -> dict[str, Any]:
    models = {key: getattr(folders, field) for key, (field, _) in MODEL_FOLDER_KEYS.items()}
    return {
        **models,
        "path_wildcards": folders.wildcards,
        "path_styles": folders.user_styles,
        "path_outputs": folders.outputs,
        "temp_path": folders.temp,
    }


def _read_folder(
    name: str, given: Path | None, default: Path, root: Path, source: LayeredValues
) -> Path:
    if given is not None:
        source.sources[name] = FLAG
        return given
    return root / str(source.read(name, Key(builtin=str(default), read=folder_path)))


def _read_model_folders(
    name: str, folder: str, places: _Places, source: LayeredValues
) -> tuple[Path, ...]:
    if places.is_tiny:
        # Nothing else is searched, so that a real LoRA or patch never meets the tiny base.
        source.sources[name] = f"preset {TINY_PRESET}"
        return (TINY_MODELS / folder,)
    models = places.models or places.root / "models"
    paths = source.read(name, Key(builtin=str(models / folder), read=folder_paths))
    if places.models and source.sources[name] == BUILTIN:
        source.sources[name] = FLAG
    return tuple(places.root / path for path in paths)


def _make_defaults(values: Mapping[str, Any]) -> Defaults:
    slots: tuple[Lora | None, ...] = values["default_loras"]
    return Defaults(
        model=values["default_model"],
        previous_models=values["previous_default_models"],
        refiner=values["default_refiner"],
        refiner_switch=values["default_refiner_switch"],
        loras=tuple(slot for slot in slots if slot is not None),
        max_loras=values["default_max_lora_number"] or len(slots) or MAX_LORAS,
        guidance_scale=values["default_cfg_scale"],
        sharpness=values["default_sample_sharpness"],
        adaptive_scale=values["default_cfg_tsnr"],
        sampler=values["default_sampler"],
        scheduler=values["default_scheduler"],
        performance=values["default_performance"],
        steps=values["default_overwrite_step"],
        switch_step=values["default_overwrite_switch"],
        upscale_strength=values["default_overwrite_upscale"],
        size=values["default_aspect_ratio"],
        styles=values["default_styles"],
        prompt=values["default_prompt"],
        negative_prompt=values["default_prompt_negative"],
        clip_skip=values["default_clip_skip"],
        vae=values["default_vae"],
        inpaint_engine=values["default_inpaint_engine_version"],
        max_image_prompts=values["default_controlnet_image_count"],
        censor=values["default_black_out_nsfw"],
        created_by=values["metadata_created_by"],
    )
