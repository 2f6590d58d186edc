"""What the sub-commands print."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fooocus_core.config import CoreConfig
from fooocus_core.params import Lora, Size
from fooocusapi.flag_values import FlagValues, Source
from fooocusapi.flags import SECTIONS, Effect, Flag
from fooocusapi.jobs.database import embedded_url
from fooocusapi.settings import Settings

_MASK = "********"


def config_lines(flags: FlagValues, core: CoreConfig, settings: Settings) -> Iterator[str]:
    """Every value in effect with its source: flags first, then the pipeline's configuration.

    Secrets are masked; of an address, what may let somebody in is. Flags without effect are left
    out.
    """
    for title, section in SECTIONS.items():
        shown = [flag for flag in section if flag.effect is Effect.EFFECTIVE]
        if shown:
            yield f"[{title}]"
            yield from (_flag_line(flag, flags, core, settings) for flag in shown)
            yield ""
    yield "[job store]"
    database = settings.database or embedded_url(settings.outputs)
    source = "built-in" if settings.database is None else "environment"
    yield f"FOOOCUS_DB_CONF = {database.render_as_string(hide_password=True)}  ({source})"
    yield ""
    yield f"[configuration, preset {core.preset}]"
    for key, value in core.values.items():
        yield f"{key} = {_show(value)}  ({core.sources[key]})"


def _flag_line(flag: Flag, flags: FlagValues, core: CoreConfig, settings: Settings) -> str:
    value, source = flags[flag.key], flags.sources[flag.key]
    if flag.key == "host":
        value = settings.host
        source = source if source is not Source.DEFAULT else flags.sources["listen"]
    elif flag.key == "base_url":
        value = settings.base_url
    elif flag.key == "hf_mirror" and value is None and core.fetching.mirror is not None:
        # Of the variables that the hub's own programs read.
        value, source = core.fetching.mirror, Source.ENVIRONMENT
    shown = _mask(value) if flag.is_secret and value else _show(value)
    return f"--{flag.name} = {shown}  ({source})"


def _mask(value: object) -> str:
    """Nothing of a secret, and of an address where it leads."""
    parts = urlsplit(value) if isinstance(value, str) else None
    if parts is None or not parts.hostname:
        return _MASK
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}/{_MASK}"


def _show(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Size):
        return f"{value.width}*{value.height}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Lora):
        return f"{value.name} : {value.weight}"
    if isinstance(value, Mapping):
        return json.dumps(dict(value), ensure_ascii=False)
    if isinstance(value, tuple):
        return ", ".join(_show(item) for item in value) or "none"
    return str(value) if isinstance(value, Path) or value != "" else '""'
