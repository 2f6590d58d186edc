"""Request -> what is asked of the pipeline, and warnings about what was tolerated.

Beside ``translate_back.py``, the only file that knows both vocabularies, and the only one that
tolerates anything.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from fooocus_core.catalog import Catalog, ModelKind
from fooocus_core.choices import (
    DEFAULT_VAE,
    EXPANSION_STYLE,
    InpaintEngine,
    MetadataScheme,
    Performance,
    RefinerSwap,
    Sampler,
    Scheduler,
)
from fooocus_core.config import CoreConfig, Defaults
from fooocus_core.params import (
    CanvasParams,
    FreeUParams,
    GenerationParams,
    GuidanceParams,
    Lora,
    ModelParams,
    OutputParams,
    PromptParams,
    SamplingParams,
    Size,
)
from fooocus_core.performance import MODES
from fooocus_core.prompt.styles import StyleLibrary
from fooocusapi.exceptions import ModelMissingError
from fooocusapi.field_names import check_field_names
from fooocusapi.needed_files import NeededFiles
from fooocusapi.schemas.parameters import (
    MAX_SEED,
    AdvancedParams,
    GenerationRequest,
    parse_size,
    webhook_target,
)
from fooocusapi.schemas.vocabulary import PLACEHOLDERS, MetaScheme
from fooocusapi.settings import Settings
from fooocusapi.tolerance import Tolerance, close_to, shown

_log = logging.getLogger(__name__)

_NO_MODEL = ("", "None")
_MAX_HINTS = 5
_MAX_LOGGED = 2000
# What may be given where a file is named.
_ALLOWED_FILES: Mapping[ModelKind, str] = {
    ModelKind.CHECKPOINT: "the names of /v1/engines/all-models",
    ModelKind.LORA: "the names of /v1/engines/all-models",
    ModelKind.VAE: f"the names of files in the folder of VAEs, and '{DEFAULT_VAE}'",
}

T = TypeVar("T")
Member = TypeVar("Member", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """What is asked of the pipeline, and what the caller should know about it."""

    params: GenerationParams
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Translator:
    """Turns requests into parameters by the configuration it is given."""

    settings: Settings
    core: CoreConfig
    catalog: Catalog
    styles: StyleLibrary

    def translate(self, request: GenerationRequest, *, single: bool) -> Translation:
        """Translate the common fields.

        Args:
            request: A validated request.
            single: Make one picture whatever the request says.

        Raises:
            InvalidFieldError: Strict, and something would have to be tolerated.
            ModelMissingError: A file is missing that the picture cannot be drawn without.
        """
        return _Run(
            translator=self,
            request=request,
            needed=NeededFiles(core=self.core, catalog=self.catalog),
            tolerance=Tolerance(strict=self.settings.strict),
        ).translation(single=single)


def unknown_styles(defaults: Defaults, styles: StyleLibrary) -> list[str]:
    """Names among the configured styles that no style has."""
    return [name for name in defaults.styles if styles.match(name) is None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One translation."""

    translator: Translator
    request: GenerationRequest
    needed: NeededFiles
    tolerance: Tolerance

    def translation(self, *, single: bool) -> Translation:
        advanced = self.request.advanced_params
        check_field_names(self.request, self.tolerance)
        self._inpaint_engine(advanced.inpaint_engine)
        self._check_performance_lora()
        self._check_censor(advanced)
        self._check_webhook()
        params = GenerationParams(
            prompt=self._prompt(),
            models=self._models(advanced),
            canvas=self._canvas(advanced, single=single),
            sampling=self._sampling(advanced),
            guidance=self._guidance(advanced),
            freeu=_freeu(advanced),
            output=self._output(advanced),
        )
        warnings = self.tolerance.warnings
        if warnings:
            _log.warning("%s", "; ".join(warnings)[:_MAX_LOGGED])
        return Translation(params=params, warnings=tuple(warnings))

    def _prompt(self) -> PromptParams:
        request, defaults = self.request, self.translator.core.defaults
        return PromptParams(
            positive=_given(request.prompt, defaults.prompt),
            negative=_given(request.negative_prompt, defaults.negative_prompt),
            styles=tuple(self._styles()),
            wildcards_in_order=request.read_wildcards_in_order,
        )

    def _styles(self) -> Iterable[str]:
        library, asked = self.translator.styles, self.request.style_selections
        matches = [
            (name, library.match(name))
            for name in _given(asked, self.translator.core.defaults.styles)
        ]
        chosen = [legal for _, legal in matches if legal is not None]
        unknown = list(dict.fromkeys(name for name, legal in matches if legal is None))
        if asked is not None:
            self._leave_styles_out(unknown)
        elif unknown:
            self.tolerance.warn(f"configured styles left out, as they are unknown: {unknown}")
        missing = self.translator.catalog.missing_expansion_files()
        if EXPANSION_STYLE not in chosen or not missing:
            return chosen
        folder = self.translator.catalog.folders(ModelKind.EXPANSION)[0]
        self.tolerance.warn(
            f"style '{EXPANSION_STYLE}' left out: prompt expansion needs {', '.join(missing)} in "
            f"{folder}"
        )
        return [name for name in chosen if name != EXPANSION_STYLE]

    def _leave_styles_out(self, names: Iterable[str]) -> None:
        for number, name in enumerate(names):
            self.tolerance.tolerate(
                ("style_selections",),
                name,
                f"unknown style '{shown(name)}'",
                instead="left out",
                allowed="the names of /v1/engines/styles",
                # Finding names that are spelt alike takes its time.
                close=self.translator.styles.close_to(shown(name)) if number < _MAX_HINTS else (),
            )

    def _models(self, advanced: AdvancedParams) -> ModelParams:
        request, defaults = self.request, self.translator.core.defaults
        base = self._base()
        refiner = self._refiner()
        return ModelParams(
            base=base,
            refiner=None if refiner == base else refiner,
            refiner_switch=_given(request.refiner_switch, defaults.refiner_switch),
            refiner_swap=self._member(
                RefinerSwap, advanced.refiner_swap_method, RefinerSwap.JOINT, "refiner_swap_method"
            ),
            loras=tuple(self._loras()),
            vae=self._vae(advanced.vae_name),
            clip_skip=_given(advanced.clip_skip, defaults.clip_skip),
        )

    def _base(self) -> str:
        asked = self.request.base_model_name
        if asked is None or asked in _NO_MODEL:
            return self.needed.base()
        known = self.translator.catalog.match(ModelKind.CHECKPOINT, asked)
        if known is not None:
            return known
        if self.translator.settings.strict:
            return asked
        default = self.needed.base()
        self._unknown_file(
            ModelKind.CHECKPOINT, ("base_model_name",), asked, f"'{default}' used instead"
        )
        return default

    def _refiner(self) -> str | None:
        asked, default = self.request.refiner_model_name, self.translator.core.defaults.refiner
        if asked is None:
            return self._default_file(ModelKind.CHECKPOINT, default)
        if asked in _NO_MODEL:
            return None
        known = self.translator.catalog.match(ModelKind.CHECKPOINT, asked)
        if known is not None or self.translator.settings.strict:
            return known or asked
        used = f"'{default}' used instead" if default else "no refiner used"
        self._unknown_file(ModelKind.CHECKPOINT, ("refiner_model_name",), asked, used)
        return self._default_file(ModelKind.CHECKPOINT, default)

    def _default_file(self, kind: ModelKind, name: str | None) -> str | None:
        return None if name is None else self.needed.find(kind, name)

    def _loras(self) -> Iterable[Lora]:
        defaults = self.translator.core.defaults
        asked = defaults.loras
        if self.request.loras is not None:
            asked = tuple(
                Lora(name=lora.model_name, weight=lora.weight)
                for lora in self.request.loras
                if lora.enabled and lora.model_name not in _NO_MODEL
            )
        if len(asked) > defaults.max_loras:
            self.tolerance.tolerate(
                ("loras",),
                len(asked),
                f"too many LoRAs: {len(asked)}",
                instead=f"only the first {defaults.max_loras} of {len(asked)} are used",
                allowed=f"at most {defaults.max_loras} that are enabled",
            )
        for lora in asked[: defaults.max_loras]:
            known = self.translator.catalog.match(ModelKind.LORA, lora.name)
            if known is not None:
                yield Lora(name=known, weight=lora.weight)
            elif self.request.loras is None:
                self.tolerance.warn(f"configured LoRA '{lora.name}' is not there and left out")
            else:
                self._unknown_file(ModelKind.LORA, ("loras",), lora.name, "left out")

    def _check_performance_lora(self) -> None:
        lora = MODES[self._performance()].lora
        if lora is not None:
            self.needed.find(ModelKind.LORA, lora.name)

    def _check_censor(self, advanced: AdvancedParams) -> None:
        # Refused, because a picture that was to be checked must not come out unchecked.
        if advanced.black_out_nsfw or self.translator.core.defaults.censor:
            raise ModelMissingError(
                "black_out_nsfw: the safety checker is not part of this version, so no picture is "
                "made; leave it and default_black_out_nsfw off"
            )

    def _performance(self) -> Performance:
        return _given(self.request.performance_selection, self.translator.core.defaults.performance)

    def _vae(self, asked: str | None) -> str | None:
        default = self.translator.core.defaults.vae
        if asked is None:
            return self._default_file(ModelKind.VAE, default)
        if asked in (*_NO_MODEL, DEFAULT_VAE):
            return None
        known = self.translator.catalog.match(ModelKind.VAE, asked)
        if known is None:
            used = f"'{default or DEFAULT_VAE}' used instead"
            self._unknown_file(ModelKind.VAE, ("advanced_params", "vae_name"), asked, used)
            return self._default_file(ModelKind.VAE, default)
        return known

    def _canvas(self, advanced: AdvancedParams, *, single: bool) -> CanvasParams:
        request, size = self.request, self.translator.core.defaults.size
        if request.aspect_ratios_selection is not None:
            size = Size(*parse_size(request.aspect_ratios_selection))
        random_seed = request.image_seed < 0
        return CanvasParams(
            size=size,
            forced_width=_positive(advanced.overwrite_width),
            forced_height=_positive(advanced.overwrite_height),
            count=1 if single else request.image_number,
            seed=secrets.randbelow(MAX_SEED + 1) if random_seed else request.image_seed,
            same_seed=advanced.disable_seed_increment,
        )

    def _sampling(self, advanced: AdvancedParams) -> SamplingParams:
        defaults = self.translator.core.defaults
        steps, switch = advanced.overwrite_step, advanced.overwrite_switch
        return SamplingParams(
            performance=self._performance(),
            sampler=self._member(Sampler, advanced.sampler_name, defaults.sampler, "sampler_name"),
            scheduler=self._member(
                Scheduler, advanced.scheduler_name, defaults.scheduler, "scheduler_name"
            ),
            steps=defaults.steps if steps is None else _positive(steps),
            switch_step=defaults.switch_step if switch is None else _positive(round(switch)),
        )

    def _guidance(self, advanced: AdvancedParams) -> GuidanceParams:
        request, defaults = self.request, self.translator.core.defaults
        return GuidanceParams(
            scale=_given(request.guidance_scale, defaults.guidance_scale),
            adaptive_scale=_given(advanced.adaptive_cfg, defaults.adaptive_scale),
            sharpness=_given(request.sharpness, defaults.sharpness),
            size_scale_positive=advanced.adm_scaler_positive,
            size_scale_negative=advanced.adm_scaler_negative,
            size_scale_end=advanced.adm_scaler_end,
        )

    def _output(self, advanced: AdvancedParams) -> OutputParams:
        settings, request = self.translator.settings, self.request
        scheme = MetadataScheme.A1111
        if request.meta_scheme is MetaScheme.FOOOCUS:
            scheme = MetadataScheme.FOOOCUS
        return OutputParams(
            metadata=scheme if request.save_meta and settings.save_metadata else None,
            previews=settings.previews and not advanced.disable_preview,
        )

    def _inpaint_engine(self, asked: str | None) -> InpaintEngine:
        default = self.translator.core.defaults.inpaint_engine
        return self._member(InpaintEngine, asked, default, "inpaint_engine")

    def _member(self, kind: type[Member], asked: str | None, default: Member, name: str) -> Member:
        if not asked:
            return default
        try:
            return kind(asked)
        except ValueError:
            self.tolerance.tolerate(
                ("advanced_params", name),
                asked,
                f"unknown {name} '{shown(asked)}'",
                instead=f"'{default}' used instead",
                allowed=", ".join(kind),
                close=close_to(asked, kind),
            )
            return default

    def _check_webhook(self) -> None:
        url = self.request.webhook_url
        if url not in PLACEHOLDERS and webhook_target(url) is None:
            self.tolerance.tolerate(
                ("webhook_url",),
                url,
                "webhook_url is no address that can be told",
                instead="nobody is told",
                allowed="http://... and https://... of at most 8000 characters, without a password",
            )

    def _unknown_file(
        self, kind: ModelKind, location: tuple[str, ...], name: str, used: str
    ) -> None:
        self.tolerance.tolerate(
            location,
            name,
            f"no file '{shown(name)}' in {kind}",
            instead=used,
            allowed=_ALLOWED_FILES[kind],
            close=close_to(name, self.translator.catalog.names(kind)),
        )


def _freeu(advanced: AdvancedParams) -> FreeUParams | None:
    if not advanced.freeu_enabled:
        return None
    return FreeUParams(
        b1=advanced.freeu_b1, b2=advanced.freeu_b2, s1=advanced.freeu_s1, s2=advanced.freeu_s2
    )


def _given(value: T | None, default: T) -> T:
    return default if value is None else value


def _positive(value: int) -> int | None:
    return value if value > 0 else None
