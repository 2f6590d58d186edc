"""Flags and environment -> whether files are fetched, and from where."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Mapping

from fooocus_core.config import FetchRules
from fooocus_core.presets import TINY_PRESET
from fooocusapi.flag_texts import read_mirror
from fooocusapi.flag_values import FlagValues

# What the hub's own library takes for "offline", and for "yes".
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_YES = ("1", "ON", "YES", "TRUE")


class MirrorError(Exception):
    """A variable names no address; the message is one line that says which."""


def read_fetch_rules(flags: FlagValues, environ: Mapping[str, str], preset: str) -> FetchRules:
    """What may be fetched while serving or by command.

    Raises:
        MirrorError: A variable of the environment holds no http(s) address.
    """
    is_offline = any(environ.get(name, "").upper() in _YES for name in _OFFLINE)
    return FetchRules(
        # The embedded model has all it needs, and real files do not fit it.
        is_allowed=not is_offline and preset != TINY_PRESET,
        skips_presets=flags["disable_preset_download"],
        wants_default_model=flags["always_download_new_model"],
        mirror=flags["hf_mirror"] or _mirror_of(environ),
    )


def _mirror_of(environ: Mapping[str, str]) -> str | None:
    for name in ("HF_MIRROR", "HF_ENDPOINT"):
        if environ.get(name):
            try:
                return read_mirror(environ[name])
            except (ArgumentTypeError, ValueError) as error:
                raise MirrorError(f"{name}: {error}") from error
    return None
