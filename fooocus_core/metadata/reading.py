"""From the record in a picture to what would have to be asked for to get that picture again.

Looks names up in the lists of files and styles; loads no model. Knows no file formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from fooocus_core.catalog import Catalog, ModelKind
from fooocus_core.choices import DEFAULT_VAE, MetadataScheme
from fooocus_core.errors import InvalidInputError
from fooocus_core.hashes import HashCache
from fooocus_core.metadata.embed import EmbeddedText
from fooocus_core.metadata.record_text import RecordText, parse_record
from fooocus_core.metadata.record_values import (
    FIELDS,
    RecordedLora,
    read_freeu,
    read_loras,
    read_scales,
    read_text,
)
from fooocus_core.metadata.style_search import (
    SEPARATOR,
    EncodedTexts,
    collapse_blanks,
    find_styles,
)
from fooocus_core.params import FreeUParams, Lora, PromptParams
from fooocus_core.performance import MODES, PerformanceMode
from fooocus_core.prompt.compose import LoraChoice, compose_prompts
from fooocus_core.prompt.styles import StyleLibrary
from fooocus_core.prompt.wildcards import Wildcards

_NONE = ("", "None")
# What a mode with a LoRA of its own sets besides all guidance.
_FORCED = {"sampling": ("sampler", "scheduler"), "models": ("refiner", "refiner_switch")}
_PARTS = ("prompt", "models", "canvas", "sampling", "guidance")
_Parts = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedParams:
    """What a picture says about how it was made, in the shape of ``GenerationParams``.

    ``prompt``, ``models``, ``canvas``, ``sampling`` and ``guidance`` map fields of the part of
    that name to their values. A field that is absent was not stated, or its performance mode sets
    it. ``sampling["steps"]`` is ``None`` for the mode's own number.

    Attributes:
        freeu: ``None`` = it was not used.
        warnings: What could not be used or found, one sentence each.
    """

    scheme: MetadataScheme
    prompt: Mapping[str, Any]
    models: Mapping[str, Any]
    canvas: Mapping[str, Any]
    sampling: Mapping[str, Any]
    guidance: Mapping[str, Any]
    freeu: FreeUParams | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReader:
    """Reads records by the files and styles there are.

    Attributes:
        hashes: Decides between model files of one name in several folders.
    """

    catalog: Catalog
    hashes: HashCache
    styles: StyleLibrary

    def read(self, embedded: EmbeddedText) -> StatedParams:
        """The parameters that give the picture of a record again.

        The LoRA and the values that a performance mode sets itself are left out. Styles that a
        record does not name are found from the texts that were encoded.

        Raises:
            InvalidInputError: The text is no record of a known scheme.

        Source:
            Behaviour of lllyasviel/Fooocus, modules/meta_parser.py; finding the styles is ours.
        """
        return _Reading(reader=self, record=parse_record(embedded)).params()


@dataclass(slots=True, kw_only=True)
class _Reading:
    """The reading of one record: collects the warnings."""

    reader: RecordReader
    record: RecordText
    warnings: list[str] = field(default_factory=list)

    def params(self) -> StatedParams:
        parts: _Parts = {
            part: {} for part in ("prompt", "models", "canvas", "sampling", "guidance")
        }
        for key, known in FIELDS.items():
            value = self._value(key, known.read)
            if value is not None:
                parts[known.part][known.name] = value
        parts["guidance"].update(self._value("adm_guidance", read_scales) or {})
        parts["sampling"].setdefault("switch_step", None)
        performance = parts["sampling"].get("performance")
        mode = MODES[performance] if performance is not None else None
        # A record mentions only a clip skip above 1.
        parts["models"] = {"clip_skip": 1, **parts["models"], **self._models(mode)}
        if mode is not None:
            _leave_out_forced(parts, mode)
        self._check_switch(parts)
        self._check_texts(parts["prompt"])
        return StatedParams(
            scheme=self.record.scheme,
            prompt=parts["prompt"],
            models=parts["models"],
            canvas=parts["canvas"],
            sampling=parts["sampling"],
            guidance=parts["guidance"],
            freeu=self._value("freeu", read_freeu),
            warnings=tuple(self.warnings),
        )

    def _value(self, key: str, read: Callable[[Any], Any]) -> Any:
        """A value of the record; ``None`` if it is not stated or, with a warning, not usable."""
        raw = self.record.values.get(key)
        try:
            return None if raw is None else read(raw)
        except ValueError:
            self._warn(f"The record's {key} is not usable and left out.")
            return None

    def _models(self, mode: PerformanceMode | None) -> dict[str, Any]:
        models: dict[str, Any] = {"loras": tuple(self._loras(mode))}
        if (base := self._value("base_model", read_text)) is not None:
            models["base"] = self._checkpoint(base, "base_model_hash")
        if (refiner := self._value("refiner_model", read_text)) is not None:
            models["refiner"] = (
                None if refiner in _NONE else self._checkpoint(refiner, "refiner_model_hash")
            )
        if (vae := self._value("vae", read_text)) is not None:
            is_default = vae in (*_NONE, DEFAULT_VAE)
            models["vae"] = None if is_default else self._file(ModelKind.VAE, vae)
        return models

    def _checkpoint(self, stem: str, hash_key: str) -> str:
        digits = self._value(hash_key, read_text) or ""
        return self._file(ModelKind.CHECKPOINT, stem, digits)

    def _loras(self, mode: PerformanceMode | None) -> Iterator[Lora]:
        recorded: list[RecordedLora] = self._value("loras", read_loras) or []
        if recorded and mode is not None and mode.lora is not None:
            own = PurePosixPath(mode.lora.name).stem
            # The mode's LoRA is applied last; the same file may have been asked for as well.
            if recorded[-1].stem in (own, mode.lora.name):
                recorded = recorded[:-1]
        for lora in recorded:
            name = self._file(ModelKind.LORA, lora.stem, lora.hash)
            yield Lora(name=name, weight=lora.weight)

    def _file(self, kind: ModelKind, stem: str, digits: str = "") -> str:
        """Name of the file with that stem, by its hash if there are several; else the stem."""
        catalog = self.reader.catalog
        names = [name for name in catalog.names(kind) if stem in (name, PurePosixPath(name).stem)]
        if not names:
            self._warn(f"There is no file {stem!r} in {kind}.")
            return stem
        if len(names) > 1:
            hashes = ((name, self._hash(kind, name)) for name in names if digits)
            if fitting := [name for name, known in hashes if known == digits]:
                return fitting[0]
            self._warn(f"There are {len(names)} files {stem!r} in {kind}; {names[0]!r} is named.")
        return names[0]

    def _hash(self, kind: ModelKind, name: str) -> str:
        return self.reader.hashes.short_hash(self.reader.catalog.find(kind, name))

    def _check_switch(self, parts: _Parts) -> None:
        models, switch_step = parts["models"], parts["sampling"]["switch_step"]
        is_unknown = "refiner_switch" not in models and switch_step is None
        if models.get("refiner") is not None and is_unknown:
            self._warn("The record does not say at which step the refiner takes over.")

    def _check_texts(self, prompt: dict[str, Any]) -> None:
        """Find the styles if they are not named, and check what the prompts make with them."""
        record, library = self.record, self.reader.styles
        if record.positive is None or record.negative is None:
            return
        if record.scheme is MetadataScheme.A1111:
            texts = EncodedTexts(
                positive=record.positive,
                negative=record.negative,
                prompt=prompt.get("positive", ""),
                negative_prompt=prompt.get("negative", ""),
            )
            names = find_styles(texts, library)
            prompt["styles"] = names or ()
            if names is None:
                self._warn("No list of styles known here makes the record's texts; none is named.")
                return
        if not _makes(PromptParams(**prompt), record.positive, record.negative, library):
            self._warn(
                "Prompts and styles asked for here make other texts than those that this picture "
                "was made with."
            )

    def _warn(self, text: str) -> None:
        self.warnings.append(read_text(text))


def _leave_out_forced(parts: _Parts, mode: PerformanceMode) -> None:
    if parts["sampling"].get("steps") == mode.steps:
        parts["sampling"]["steps"] = None
    if mode.lora is None:
        return
    parts["guidance"].clear()
    for part, names in _FORCED.items():
        for name in names:
            parts[part].pop(name, None)


def _makes(prompt: PromptParams, positive: str, negative: str, library: StyleLibrary) -> bool:
    """Whether the prompts give these texts, but for runs of blanks and an expansion."""
    try:
        composed = compose_prompts(
            prompt, seeds=[0], loras=LoraChoice(), styles=library, wildcards=Wildcards([])
        )
    except InvalidInputError:
        return False
    (picture,) = composed.pictures
    made = collapse_blanks(SEPARATOR.join(picture.positive))
    found = collapse_blanks(positive)
    if collapse_blanks(SEPARATOR.join(picture.negative)) != collapse_blanks(negative):
        return False
    return found == made or (composed.wants_expansion and found.startswith(made + SEPARATOR))
