"""Request -> what is asked of the pipeline, and warnings about what was tolerated.

With its parts ``translate_models.py``, ``translate_pictures.py``, ``translate_guides.py`` and
``translate_enhance.py``, and with ``translate_back.py``, all that knows both vocabularies; nothing
else tolerates anything.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from fooocus_core.catalog import Catalog, ModelKind
from fooocus_core.choices import (
    EXPANSION_STYLE,
    MetadataScheme,
    Performance,
    Sampler,
    Scheduler,
)
from fooocus_core.config import CoreConfig, Defaults
from fooocus_core.downloads import SAFETY_CHECKER
from fooocus_core.params import (
    CanvasParams,
    EnhanceParams,
    FreeUParams,
    GenerationParams,
    GuidanceParams,
    ModelParams,
    OutputParams,
    PromptParams,
    SamplingParams,
    Size,
)
from fooocus_core.passes import paints
from fooocus_core.performance import MODES
from fooocus_core.prompt.styles import StyleLibrary
from fooocusapi.field_names import check_field_names
from fooocusapi.inputs import Pictures
from fooocusapi.needed_files import NeededFiles
from fooocusapi.schemas.parameters import (
    MAX_SEED,
    AdvancedParams,
    GenerationRequest,
    parse_size,
    webhook_target,
)
from fooocusapi.schemas.pictures import PictureField
from fooocusapi.schemas.requests import EnhanceRequest
from fooocusapi.schemas.vocabulary import PLACEHOLDERS, MetaScheme
from fooocusapi.settings import Settings
from fooocusapi.tolerance import Tolerance, shown
from fooocusapi.translate_enhance import EnhanceTranslation
from fooocusapi.translate_guides import control_params, guide_fields
from fooocusapi.translate_models import ModelTranslation
from fooocusapi.translate_pictures import PictureTranslation

_log = logging.getLogger(__name__)

_MAX_HINTS = 5
_MAX_LOGGED = 2000
T = TypeVar("T")


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

    def picture_fields(self, request: GenerationRequest) -> Iterator[PictureField]:
        """Where the pictures stand that :meth:`translate` needs."""
        yield from request.picture_fields()
        yield from guide_fields(request, self.core.defaults.max_image_prompts)

    @property
    def needed(self) -> NeededFiles:
        """Finds what pictures cannot be made or described without."""
        return NeededFiles(core=self.core, catalog=self.catalog)

    def translate(
        self, request: GenerationRequest, pictures: Pictures, *, single: bool
    ) -> Translation:
        """Translate a request.

        Args:
            request: A validated request.
            pictures: Those that stand at :meth:`picture_fields`.
            single: Make one picture whatever the request says.

        Raises:
            InvalidFieldError: A picture cannot be used; or strict, and something would have to be
                tolerated.
            ModelMissingError: A file is missing that the picture cannot be drawn without.
        """
        return _Run(
            translator=self,
            request=request,
            pictures=pictures,
            needed=self.needed,
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
    pictures: Pictures
    needed: NeededFiles
    tolerance: Tolerance

    def translation(self, *, single: bool) -> Translation:
        advanced = self.request.advanced_params
        check_field_names(self.request, self.tolerance)
        if self._censors(advanced):
            self.needed.require((SAFETY_CHECKER,))
        self._check_webhook()
        canvas = self._canvas(advanced, single=single)
        pictures = self._pictures().params(canvas.final_size)
        params = GenerationParams(
            prompt=self._prompt(),
            models=ModelParams(base=self.translator.core.defaults.model),
            canvas=canvas,
            sampling=self._sampling(advanced),
            guidance=self._guidance(advanced),
            control=control_params(advanced),
            freeu=_freeu(advanced),
            upscale_vary=pictures.upscale_vary,
            inpaint=pictures.inpaint,
            image_prompts=pictures.image_prompts,
            enhance=self._enhance(single=single),
            output=self._output(advanced),
        )
        if paints(params):
            self._check_performance_lora()
            params = replace(params, models=self._models().params())
        warnings = self.tolerance.warnings
        if warnings:
            _log.warning("%s", "; ".join(warnings)[:_MAX_LOGGED])
        return Translation(params=params, warnings=tuple(warnings))

    def _models(self) -> ModelTranslation:
        return ModelTranslation(
            request=self.request,
            defaults=self.translator.core.defaults,
            catalog=self.translator.catalog,
            needed=self.needed,
            tolerance=self.tolerance,
        )

    def _pictures(self) -> PictureTranslation:
        return PictureTranslation(
            request=self.request,
            pictures=self.pictures,
            defaults=self.translator.core.defaults,
            needed=self.needed,
            tolerance=self.tolerance,
        )

    def _enhance(self, *, single: bool) -> EnhanceParams | None:
        if not isinstance(self.request, EnhanceRequest):
            return None
        return EnhanceTranslation(
            request=self.request,
            pictures=self.pictures,
            defaults=self.translator.core.defaults,
            needed=self.needed,
            tolerance=self.tolerance,
        ).params(single=single)

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

    def _check_performance_lora(self) -> None:
        lora = MODES[self._performance()].lora
        if lora is not None:
            self.needed.find(ModelKind.LORA, lora.name)

    def _censors(self, advanced: AdvancedParams) -> bool:
        return advanced.black_out_nsfw or self.translator.core.defaults.censor

    def _performance(self) -> Performance:
        return _given(self.request.performance_selection, self.translator.core.defaults.performance)

    def _canvas(self, advanced: AdvancedParams, *, single: bool) -> CanvasParams:
        request, size = self.request, self.translator.core.defaults.size
        if request.aspect_ratios_selection is not None:
            size = Size(*parse_size(request.aspect_ratios_selection))
        random_seed = request.image_seed < 0
        return CanvasParams(
            size=size,
            forced_width=_positive(advanced.overwrite_width),
            forced_height=_positive(advanced.overwrite_height),
            count=1 if single or isinstance(request, EnhanceRequest) else request.image_number,
            seed=secrets.randbelow(MAX_SEED + 1) if random_seed else request.image_seed,
            same_seed=advanced.disable_seed_increment,
        )

    def _sampling(self, advanced: AdvancedParams) -> SamplingParams:
        defaults = self.translator.core.defaults
        steps, switch = advanced.overwrite_step, advanced.overwrite_switch
        return SamplingParams(
            performance=self._performance(),
            sampler=self.tolerance.choose(
                Sampler, advanced.sampler_name, defaults.sampler, "sampler_name"
            ),
            scheduler=self.tolerance.choose(
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
            censor=self._censors(advanced),
        )

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
