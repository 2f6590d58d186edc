"""What every workflow works with: the loaded models, the lists of files, the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from diffusers.models.controlnets.controlnet import ControlNetModel

from fooocus_core.catalog import Catalog, ModelKind
from fooocus_core.choices import ControlKind
from fooocus_core.config import CoreConfig
from fooocus_core.downloads import CONTROL_FILES, ModelFile
from fooocus_core.errors import ModelNotFoundError
from fooocus_core.fetching import fetch, usable_offer
from fooocus_core.hashes import HashCache
from fooocus_core.loading.memory import leanest
from fooocus_core.loading.merged_loras import LoraFile
from fooocus_core.loading.store import ModelFiles, Models, ModelStore
from fooocus_core.plan import Plan
from fooocus_core.text.tokens import Tokenizer
from fooocus_core.transfer_progress import at_intervals, shown_transfer
from fooocus_core.workflows.auxiliary import AuxiliaryNetworks
from fooocus_core.workflows.progress import Reporter

_TELL_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Lives as long as the engine and belongs to its thread."""

    config: CoreConfig
    catalog: Catalog
    hashes: HashCache
    models: ModelStore
    auxiliary: AuxiliaryNetworks
    tokenizer: Tokenizer

    def require(self, files: Iterable[ModelFile], reporter: Reporter | None = None) -> None:
        """Make sure that files are there, before anything that takes long.

        Raises:
            ModelNotFoundError: One is not in its folders, and may not be fetched.
            DownloadError: One could not be fetched.
        """
        for file in files:
            self.find(file, reporter)

    def prepare(self, plan: Plan, reporter: Reporter) -> Models:
        """Bring in the models of a plan, with its LoRAs merged and its inpaint patch at hand.

        Raises:
            ModelNotFoundError: A file is not in its folders, and may not be fetched.
            DownloadError: A file could not be fetched.
            ModelFileError: A file cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        asked = plan.params.models

        def find(kind: ModelKind, name: str) -> Path:
            return self.find(ModelFile(kind=kind, name=name), reporter)

        files = ModelFiles(
            base=find(ModelKind.CHECKPOINT, asked.base),
            vae=find(ModelKind.VAE, asked.vae) if asked.vae else None,
            refiner=find(ModelKind.CHECKPOINT, asked.refiner) if asked.refiner else None,
        )
        loras = [
            LoraFile(path=find(ModelKind.LORA, lora.name), weight=lora.weight)
            for lora in plan.loras
        ]
        patch = self.find(plan.inpaint_patch, reporter) if plan.inpaint_patch else None
        models = self.models.prepare(files)
        for warning in self.models.merge(loras, patch):
            reporter.warn(warning)
        return models

    def control_nets(self, kinds: Iterable[ControlKind]) -> Mapping[ControlKind, ControlNetModel]:
        """Bring in what reads control pictures of these kinds, made for the models as they are.

        Those of other kinds are freed.

        Raises:
            ModelNotFoundError: A file is not in its folders.
            ModelFileError: A file cannot be used.
            DeviceMemoryError: The device has not enough memory.
        """
        paths = {kind: self.find(CONTROL_FILES[kind]) for kind in kinds}
        networks = self.models.control_nets(list(paths.values()))
        return {kind: networks[path] for kind, path in paths.items()}

    def free(self) -> None:
        """Let go of all models and of cached device memory."""
        self.auxiliary.free()
        self.models.free()

    @contextmanager
    def lean(self) -> Iterator[Resources]:
        """What a run works with that is to take as little device memory as it can.

        All models are let go of before and afterwards.
        """
        self.free()
        lean = replace(self, models=ModelStore(leanest(self.models.plan)))
        try:
            yield lean
        finally:
            lean.free()

    def find(self, file: ModelFile, reporter: Reporter | None = None) -> Path:
        """Where a file is, which is fetched first if it is missing and may be.

        Args:
            reporter: Told how far that is.

        Raises:
            ModelNotFoundError: It is not in its folders, and may not be fetched.
            DownloadError: It could not be fetched.
            RunCancelled: The run was asked to stop.
        """
        try:
            return self.catalog.find(file.kind, file.name)
        except ModelNotFoundError:
            offer = usable_offer(file, self.config)
            if offer is None:
                raise
        if reporter is None:
            return fetch(offer, self.config)

        def tell(done: int, total: int | None) -> None:
            reporter.say(f"Downloading {file.name}, {shown_transfer(done, total)} ...")

        return fetch(
            offer,
            self.config,
            on_bytes=at_intervals(tell, _TELL_EVERY_S),
            check=reporter.check_cancelled,
        )

    def short_hash(self, kind: ModelKind, name: str) -> str:
        """Short content hash of a model file, by its catalog name."""
        return self.hashes.short_hash(self.catalog.find(kind, name))
