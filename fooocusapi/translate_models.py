"""Request -> which model files draw the picture.

A part of ``translate.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fooocus_core.catalog import Catalog, ModelKind
from fooocus_core.choices import DEFAULT_VAE, RefinerSwap
from fooocus_core.config import Defaults
from fooocus_core.params import Lora, ModelParams
from fooocusapi.needed_files import NeededFiles
from fooocusapi.schemas.parameters import GenerationRequest
from fooocusapi.tolerance import Tolerance, close_to, shown

_NO_MODEL = ("", "None")
# What may be given where a file is named.
_ALLOWED_FILES: Mapping[ModelKind, str] = {
    ModelKind.CHECKPOINT: "the names of /v1/engines/all-models",
    ModelKind.LORA: "the names of /v1/engines/all-models",
    ModelKind.VAE: f"the names of files in the folder of VAEs, and '{DEFAULT_VAE}'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTranslation:
    """The translation of one request's model names."""

    request: GenerationRequest
    defaults: Defaults
    catalog: Catalog
    needed: NeededFiles
    tolerance: Tolerance

    def params(self) -> ModelParams:
        """The files by their names in the catalog.

        Raises:
            InvalidFieldError: Strict, and something would have to be tolerated.
            ModelMissingError: A configured file is not there.
        """
        request, advanced = self.request, self.request.advanced_params
        switch, clip_skip = request.refiner_switch, advanced.clip_skip
        base = self._base()
        refiner = self._refiner()
        return ModelParams(
            base=base,
            refiner=None if refiner == base else refiner,
            refiner_switch=self.defaults.refiner_switch if switch is None else switch,
            refiner_swap=self.tolerance.choose(
                RefinerSwap, advanced.refiner_swap_method, RefinerSwap.JOINT, "refiner_swap_method"
            ),
            loras=tuple(self._loras()),
            vae=self._vae(advanced.vae_name),
            clip_skip=self.defaults.clip_skip if clip_skip is None else clip_skip,
        )

    def _base(self) -> str:
        asked = self.request.base_model_name
        if asked is None or asked in _NO_MODEL:
            return self.needed.base()
        known = self.needed.match(ModelKind.CHECKPOINT, asked)
        if known is not None:
            return known
        if self.tolerance.is_strict:
            return asked
        default = self.needed.base()
        self._unknown_file(
            ModelKind.CHECKPOINT, ("base_model_name",), asked, f"'{default}' used instead"
        )
        return default

    def _refiner(self) -> str | None:
        asked, default = self.request.refiner_model_name, self.defaults.refiner
        if asked is None:
            return self._default_file(ModelKind.CHECKPOINT, default)
        if asked in _NO_MODEL:
            return None
        known = self.needed.match(ModelKind.CHECKPOINT, asked)
        if known is not None or self.tolerance.is_strict:
            return known or asked
        used = f"'{default}' used instead" if default else "no refiner used"
        self._unknown_file(ModelKind.CHECKPOINT, ("refiner_model_name",), asked, used)
        return self._default_file(ModelKind.CHECKPOINT, default)

    def _default_file(self, kind: ModelKind, name: str | None) -> str | None:
        return None if name is None else self.needed.find(kind, name)

    def _loras(self) -> Iterable[Lora]:
        asked = self.defaults.loras
        if self.request.loras is not None:
            asked = tuple(
                Lora(name=lora.model_name, weight=lora.weight)
                for lora in self.request.loras
                if lora.enabled and lora.model_name not in _NO_MODEL
            )
        limit = self.defaults.max_loras
        if len(asked) > limit:
            self.tolerance.tolerate(
                ("loras",),
                len(asked),
                f"too many LoRAs: {len(asked)}",
                instead=f"only the first {limit} of {len(asked)} are used",
                allowed=f"at most {limit} that are enabled",
            )
        for lora in asked[:limit]:
            known = self.needed.match(ModelKind.LORA, lora.name)
            if known is not None:
                yield Lora(name=known, weight=lora.weight)
            elif self.request.loras is None:
                self.tolerance.warn(f"configured LoRA '{lora.name}' is not there and left out")
            else:
                self._unknown_file(ModelKind.LORA, ("loras",), lora.name, "left out")

    def _vae(self, asked: str | None) -> str | None:
        default = self.defaults.vae
        if asked is None:
            return self._default_file(ModelKind.VAE, default)
        if asked in (*_NO_MODEL, DEFAULT_VAE):
            return None
        known = self.needed.match(ModelKind.VAE, asked)
        if known is None:
            used = f"'{default or DEFAULT_VAE}' used instead"
            self._unknown_file(ModelKind.VAE, ("advanced_params", "vae_name"), asked, used)
            return self._default_file(ModelKind.VAE, default)
        return known

    def _unknown_file(
        self, kind: ModelKind, location: tuple[str, ...], name: str, used: str
    ) -> None:
        self.tolerance.tolerate(
            location,
            name,
            f"no file '{shown(name)}' in {kind}",
            instead=used,
            allowed=_ALLOWED_FILES[kind],
            close=close_to(name, self.catalog.names(kind)),
        )
