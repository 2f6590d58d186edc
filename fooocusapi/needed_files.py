"""Model files that a generation cannot do without, looked for before a job is made of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from fooocus_core.catalog import Catalog, ModelKind, choose_base
from fooocus_core.config import CoreConfig
from fooocusapi.exceptions import ModelMissingError


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededFiles:
    """Finds the files that the configuration or a performance mode names."""

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
        raise ModelMissingError(
            f"{self._missing(ModelKind.CHECKPOINT, self.core.defaults.model)}; or name one of "
            "/v1/engines/all-models as base_model_name, or start with --preset tiny"
        )

    def find(self, kind: ModelKind, name: str) -> str:
        """The name of a file as the catalog spells it.

        Raises:
            ModelMissingError: It is not there; names its folder, and where the configuration has
                an address of the file, the command that fetches it.
        """
        known = self.catalog.match(kind, name)
        if known is None:
            raise ModelMissingError(self._missing(kind, name))
        return known

    def _missing(self, kind: ModelKind, name: str) -> str:
        folder = self.catalog.folders(kind)[0]
        text = f"the file '{name}' is needed and not there: put it into {folder}"
        address = self._addresses(kind).get(name)
        if address is None:
            return text
        path = shlex.quote(str(folder / name))
        return f"{text}, for example by: curl --location --output {path} {shlex.quote(address)}"

    def _addresses(self, kind: ModelKind) -> Mapping[str, str]:
        downloads = self.core.downloads
        lists = {
            ModelKind.CHECKPOINT: downloads.checkpoints,
            ModelKind.LORA: downloads.loras,
            ModelKind.VAE: downloads.vae,
        }
        return lists.get(kind, {})
