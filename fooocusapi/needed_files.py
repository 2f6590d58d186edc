"""Model files that a generation cannot do without, looked for before a job is made of it.

A missing one that may be fetched counts as there: the job fetches it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from fooocus_core.catalog import Catalog, ModelKind, choose_base
from fooocus_core.config import CoreConfig
from fooocus_core.config_values import MODEL_FOLDER_KEYS
from fooocus_core.downloads import ModelFile, find_address
from fooocus_core.feature_files import fitted_files, preset_files
from fooocus_core.fetching import usable_offer
from fooocus_core.presets import TINY_PRESET
from fooocusapi.exceptions import ModelMissingError


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededFiles:
    """Finds the files that the configuration, a performance mode or a workflow names."""

    core: CoreConfig
    catalog: Catalog

    def base(self) -> str:
        """The base model of requests that name none.

        Raises:
            ModelMissingError: It is not there, nor one that may take its place, nor can it be
                fetched.
        """
        known = choose_base(self.catalog, self.core.defaults)
        if known is not None:
            return known
        default = ModelFile(kind=ModelKind.CHECKPOINT, name=self.core.defaults.model)
        if usable_offer(default, self.core) is not None:
            return default.name
        raise ModelMissingError(
            f"{self._missing(default)}; or name one of /v1/engines/all-models as base_model_name, "
            "or start with --preset tiny"
        )

    def match(self, kind: ModelKind, name: str) -> str | None:
        """The name of a file that is there, or that the configuration names and can be fetched."""
        known = self.catalog.match(kind, name)
        file = ModelFile(kind=kind, name=name.replace("\\", "/"))
        if known is not None or file not in preset_files(self.core, self.catalog):
            return known
        return file.name if usable_offer(file, self.core) is not None else None

    def find(self, kind: ModelKind, name: str) -> str:
        """The name of a file as the catalog spells it.

        Raises:
            ModelMissingError: It is not there and cannot be fetched; names its folder, and where
                its address is known, the command that fetches it.
        """
        self.require([ModelFile(kind=kind, name=name)])
        return self.catalog.match(kind, name) or name

    def require(self, files: Iterable[ModelFile]) -> None:
        """Make sure that all of these files are there or can be fetched.

        Raises:
            ModelMissingError: Some are not; tells of each what :meth:`find` tells.
        """
        missing = [
            file
            for file in files
            if self.catalog.match(file.kind, file.name) is None
            and usable_offer(file, self.core) is None
        ]
        if missing:
            raise ModelMissingError("; ".join(map(self._missing, missing)))

    def _missing(self, file: ModelFile) -> str:
        if self.core.preset == TINY_PRESET and file in fitted_files():
            folders = dict(MODEL_FOLDER_KEYS.values())
            return (
                f"the file '{file.name}' is needed; the embedded model has none of its own, and "
                "the published one does not fit it: start with another preset, whose files lie in "
                f"models/{folders[file.kind]} and are fetched when they are first needed, or by: "
                "python main.py download --all"
            )
        folder = self.catalog.folders(file.kind)[0]
        text = f"the file '{file.name}' is needed and not there: put it into {folder}"
        address = find_address(file, self.core.downloads)
        if address is None:
            return text
        path = shlex.quote(str(folder / file.name))
        command = f"curl --location --create-dirs --output {path} {shlex.quote(address)}"
        return f"{text}, for example by: {command}"
