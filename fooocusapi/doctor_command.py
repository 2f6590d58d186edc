"""What ``python main.py doctor`` finds out: whether this host can serve, and what is missing.

Changes nothing, and asks nobody over the network.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fooocus_core.catalog import Catalog, ModelKind
from fooocus_core.config import CoreConfig
from fooocus_core.downloads import ModelFile
from fooocus_core.errors import DownloadError, FooocusError
from fooocus_core.feature_files import default_files, feature_files, preset_files
from fooocus_core.fetching import check_room, find_offer, usable_offer
from fooocus_core.files import nearest_folder
from fooocus_core.transfer_progress import shown_size
from fooocusapi import __version__

_LIBRARIES = (
    "torch",
    "diffusers",
    "transformers",
    "safetensors",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "fastapi",
    "uvicorn",
    "huggingface_hub",
)
# Of a day's pictures, which are about 2 MB each.
_SMALL_OUTPUT_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report; ``prevents`` = the server cannot make pictures because of it."""

    text: str
    prevents: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Findings about one thing."""

    title: str
    findings: tuple[Finding, ...]


def examine(
    core: CoreConfig, describe_device: Callable[[], Sequence[str]], port_trouble: str | None
) -> Iterator[Section]:
    """Look at everything that serving needs, section by section.

    Args:
        core: The configuration to serve with.
        describe_device: What the pipeline would compute on; may raise what keeps it from starting.
        port_trouble: Why nobody can listen at the address; ``None`` = somebody can.
    """
    catalog = Catalog(core.folders)
    yield Section(title="device", findings=tuple(_device(describe_device)))
    yield Section(title="versions", findings=tuple(_versions()))
    yield Section(title="folders", findings=tuple(_folders(core, catalog)))
    yield Section(title=f"models of preset {core.preset}", findings=tuple(_models(core, catalog)))
    yield Section(title="files per feature", findings=tuple(_features(core, catalog)))
    yield Section(title="free space", findings=tuple(_space(core, catalog)))
    free = Finding(text="the address can be listened on")
    taken = Finding(text=port_trouble, prevents=True) if port_trouble else free
    yield Section(title="port", findings=(taken,))


def report_lines(sections: Sequence[Section]) -> Iterator[str]:
    """The report, with the verdict at the end."""
    for section in sections:
        yield f"[{section.title}]"
        for finding in section.findings:
            yield f"{'PROBLEM: ' if finding.prevents else ''}{finding.text}"
        yield ""
    yield "can serve" if can_serve(sections) else "cannot serve: see PROBLEM above"


def can_serve(sections: Sequence[Section]) -> bool:
    """Whether nothing was found that prevents it."""
    return not any(finding.prevents for section in sections for finding in section.findings)


def _device(describe_device: Callable[[], Sequence[str]]) -> Iterator[Finding]:
    try:
        lines = describe_device()
    except (ImportError, OSError, RuntimeError, FooocusError) as error:
        yield Finding(text=f"the pipeline does not start: {error}", prevents=True)
        return
    for line in lines:
        yield Finding(text=line)


def _versions() -> Iterator[Finding]:
    yield Finding(text=f"fooocusapi {__version__}, Python {platform.python_version()}")
    for name in _LIBRARIES:
        try:
            yield Finding(text=f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding(text=f"{name} is not installed", prevents=True)


def _folders(core: CoreConfig, catalog: Catalog) -> Iterator[Finding]:
    for kind in ModelKind:
        for folder in catalog.folders(kind):
            if not folder.is_dir():
                state = "is not there"
            elif not os.access(folder, os.R_OK | os.X_OK):
                state = "cannot be read"
            else:
                state = "" if os.access(folder, os.W_OK) else "is read-only"
            yield Finding(text=f"{kind}: {folder}{f' {state}' if state else ''}")
    for name, folder in (("outputs", core.folders.outputs), ("temp", core.folders.temp)):
        trouble = "" if _is_writable(folder) else " cannot be written"
        yield Finding(text=f"{name}: {folder}{trouble}", prevents=bool(trouble))


def _models(core: CoreConfig, catalog: Catalog) -> Iterator[Finding]:
    # A LoRA of the configuration that is missing is left out with a warning, all else is not.
    optional = {ModelFile(kind=ModelKind.LORA, name=lora.name) for lora in core.defaults.loras}
    for file in default_files(core, catalog):
        if catalog.match(file.kind, file.name) is not None:
            yield Finding(text=f"{file.kind}/{file.name} is there")
            continue
        trouble = _fetching_trouble(file, core)
        if trouble is None:
            yield Finding(text=f"{_shown(file, core)} will be fetched at the start")
            continue
        yield Finding(
            text=f"{_shown(file, core)} is missing, {trouble}: "
            f"put it into {catalog.folders(file.kind)[0]}",
            prevents=file not in optional,
        )


def _features(core: CoreConfig, catalog: Catalog) -> Iterator[Finding]:
    for feature, files in feature_files().items():
        missing = [file for file in files if catalog.match(file.kind, file.name) is None]
        lacking = [file for file in missing if _fetching_trouble(file, core) is not None]
        if lacking:
            places = (f"{file.name} in {catalog.folders(file.kind)[0]}" for file in lacking)
            yield Finding(text=f"{feature}: not possible without {', '.join(places)}")
        elif missing:
            shown = ", ".join(_shown(file, core) for file in missing)
            yield Finding(text=f"{feature}: will be fetched when first needed: {shown}")
        else:
            yield Finding(text=f"{feature}: complete")


def _fetching_trouble(file: ModelFile, core: CoreConfig) -> str | None:
    """Why a missing file will not be fetched; ``None`` = it will."""
    offer = find_offer(file, core)
    if offer is None:
        return "and no address is known"
    if usable_offer(file, core) is None:
        return "and may not be fetched"
    if not _is_writable(offer.target.parent):
        return "and its folder cannot be written"
    return None


def _is_writable(folder: Path) -> bool:
    """Whether files can be put into a folder, which would be made if it is not there."""
    nearest = nearest_folder(folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _shown(file: ModelFile, core: CoreConfig) -> str:
    offer = find_offer(file, core)
    return f"{file.kind}/{file.name} ({shown_size(offer.rough_size if offer else None)})"


def _space(core: CoreConfig, catalog: Catalog) -> Iterator[Finding]:
    offers = [
        offer
        for file in preset_files(core, catalog)
        if catalog.match(file.kind, file.name) is None
        and (offer := usable_offer(file, core)) is not None
    ]
    size = shown_size(sum(offer.rough_size or 0 for offer in offers))
    folder = nearest_folder(catalog.folders(ModelKind.CHECKPOINT)[0])
    free = shutil.disk_usage(folder).free
    yield Finding(text=f"models: {shown_size(free)} free, files of {size} are fetched at the start")
    try:
        check_room(offers)
    except DownloadError as error:
        yield Finding(text=str(error), prevents=True)
    free = shutil.disk_usage(nearest_folder(core.folders.outputs)).free
    few = ", which is little" if free < _SMALL_OUTPUT_BYTES else ""
    yield Finding(text=f"outputs: {shown_size(free)} free{few}")
