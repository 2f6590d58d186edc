"""Model files that a generation cannot do without, looked for before a job is made of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from fooocus_core.catalog import Catalog, ModelKind, choose_base
from fooocus_core.config import CoreConfig
from fooocus_core.downloads import ModelFile, find_address
from fooocusapi.exceptions import ModelMissingError


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededFiles:
    """Finds the files that the configuration, a performance mode or a workflow names."""

    core: CoreConfig
    catalog: Catalog

    def base(self) -> str:
        """The base model of requests that name none.

        Raises:
            ModelMissingError: It is not there, nor one that may take its place.
        """
        known = choose_base(self.catalog, self.core.defaults)
        if known is not None:
            return known
        default = ModelFile(kind=ModelKind.CHECKPOINT, name=self.core.defaults.model)
        raise ModelMissingError(
            f"{self._missing(default)}; or name one of /v1/engines/all-models as base_model_name, "
            "or start with --preset tiny"
        )

    def find(self, kind: ModelKind, name: str) -> str:
        """The name of a file as the catalog spells it.

        Raises:
            ModelMissingError: It is not there; names its folder, and where its address is known,
                the command that fetches it.
        """
        known = self.catalog.match(kind, name)
        if known is None:
            raise ModelMissingError(self._missing(ModelFile(kind=kind, name=name)))
        return known

    def require(self, files: Iterable[ModelFile]) -> None:
        """Make sure that all of these files are there.

        Raises:
            ModelMissingError: Some are not; tells of each what :meth:`find` tells.
        """
        missing = [file for file in files if self.catalog.match(file.kind, file.name) is None]
        if missing:
            raise ModelMissingError("; ".join(map(self._missing, missing)))

    def _missing(self, file: ModelFile) -> str:
        folder = self.catalog.folders(file.kind)[0]
        text = f"the file '{file.name}' is needed and not there: put it into {folder}"
        address = find_address(file, self.core.downloads)
        if address is None:
            return text
        path = shlex.quote(str(folder / file.name))
        command = f"curl --location --create-dirs --output {path} {shlex.quote(address)}"
        return f"{text}, for example by: {command}"
