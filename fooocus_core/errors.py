"""The exceptions of the pipeline. ``str(error)`` is fit to be shown to a caller."""

from __future__ import annotations


class FooocusError(Exception):
    """Any failure of the pipeline that has a known cause."""


class InvalidInputError(FooocusError):
    """A picture or value cannot be used; the message names it."""


class ModelNotFoundError(FooocusError):
    """No model file of that name exists; the message names the folders searched."""


class ModelFileError(FooocusError):
    """A model file is unreadable, or entries are missing or unexpected."""


class NotFiniteError(FooocusError):
    """A picture has no values: what was computed is infinite or not a number."""


class DownloadError(FooocusError):
    """A file could not be fetched; no partial file is left under its final name."""


class PackageMissingError(FooocusError):
    """A package that a feature needs is not installed; the message names it."""


class DeviceMemoryError(FooocusError):
    """The device ran out of memory; the message says during what."""


class DeviceFailedError(FooocusError):
    """The device answers nothing any more; only a new process can use it again."""


class ImageSkipped(Exception):
    """The picture being made is not wanted any more. Not a :class:`FooocusError`."""


class RunCancelled(Exception):
    """The run was asked to stop. Not a :class:`FooocusError`."""
