"""Every flag of the command line as a table.

Knows what a flag is called and what it may hold, not what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from fooocusapi.flag_texts import (
    read_api_key,
    read_gibibytes,
    read_mirror,
    read_page_origins,
    read_seconds,
    read_webhook,
    read_webhook_secrets,
    read_whole,
)

ENVIRONMENT_PREFIX = "FOOOCUSAPI_"


class Effect(Enum):
    """What giving a flag does."""

    EFFECTIVE = "effective"
    NONE = "accepted, no effect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag.

    Attributes:
        name: With dashes; underscores are accepted too.
        read: Text -> value; ``None`` for a switch.
        bare: Value of the flag given without one; ``None`` if a value is needed.
        group: Flags of the same group exclude each other.
        is_secret: Its value is never shown.
        is_list: It takes several values, and may be given again; in the environment, they stand
            between the marks of paths.
    """

    name: str
    help: str
    read: Callable[[str], Any] | None = None
    default: Any = None
    bare: Any = None
    choices: tuple[str, ...] | None = None
    group: str | None = None
    effect: Effect = Effect.EFFECTIVE
    is_secret: bool = False
    is_list: bool = False

    @property
    def key(self) -> str:
        """The name as an identifier."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable that sets the flag."""
        return ENVIRONMENT_PREFIX + self.key.upper()


def _inert(*names: str) -> tuple[Flag, ...]:
    return tuple(Flag(name=name, help="Accepted.", effect=Effect.NONE) for name in names)


def _formats(part: str, *formats: str) -> tuple[Flag, ...]:
    return tuple(
        Flag(
            name=f"{part}-in-{name}",
            help=f"Number format {name}.",
            group=f"{part}-in",
            default=False,
        )
        for name in formats
    )


_NONE = Effect.NONE
_LEVELS = ("critical", "error", "warning", "info", "debug", "trace")

_VRAM = {
    "always-gpu": "Networks stay on the GPU.",
    "always-high-vram": "The same.",
    "always-normal-vram": "Only networks in use lie on the GPU (default).",
    "always-low-vram": "The UNet comes to the GPU block by block.",
    "always-no-vram": "The UNet comes to the GPU layer by layer.",
}
_ATTENTION = {
    "attention-split": "Attention for a part of the queries at a time.",
    "attention-quad": "Attention in small parts, with the least memory.",
    "attention-pytorch": "Torch's own attention (default).",
}

_SERVING = (
    Flag(name="host", help="Address to listen on (default 127.0.0.1).", read=str),
    Flag(name="listen", help="The same; alone: 0.0.0.0. --host wins.", read=str, bare="0.0.0.0"),
    Flag(name="port", help="Port to listen on.", read=read_whole(0, 65535), default=8888),
    Flag(name="base-url", help="Prefix of result addresses (default http://HOST:PORT).", read=str),
    Flag(name="log-level", help="What is logged.", read=str, default="info", choices=_LEVELS),
    Flag(name="preload-pipeline", help="Load models before serving.", default=False),
    Flag(
        name="max-body-size",
        help="Largest request body in bytes.",
        read=read_whole(1),
        default=100 * 1024 * 1024,
    ),
    Flag(
        name="shutdown-grace",
        help="Seconds the running image may take when the server is stopped.",
        read=read_seconds,
        default=30.0,
    ),
)
_ACCESS = (
    Flag(
        name="apikey", help="Key wanted in the header X-API-KEY.", read=read_api_key, is_secret=True
    ),
    Flag(name="api-keys-file", help="File of further keys: name:sha256:scopes.", read=Path),
    Flag(
        name="rate-limit",
        help="Requests per minute and key; 0 = any number.",
        read=read_whole(0),
        default=0,
    ),
    Flag(
        name="cors-allow-origins",
        help="Origins of pages that may call, comma separated (default any).",
        read=read_page_origins,
    ),
    Flag(
        name="allow-private-urls",
        help="Pictures may be fetched from private networks and this host.",
        default=False,
    ),
    Flag(name="strict", help="Refuse what is otherwise tolerated with a warning.", default=False),
)
_JOBS = (
    Flag(name="queue-size", help="Most jobs waiting and running.", read=read_whole(1), default=100),
    Flag(
        name="queue-history",
        help="Most finished jobs kept, with their files; 0 = no limit.",
        read=read_whole(0),
        default=0,
    ),
    Flag(name="persistent", help="job-history and query-job know earlier runs.", default=False),
    Flag(
        name="cancel-on-disconnect",
        help="A job is cancelled if its caller hangs up while waiting.",
        default=False,
    ),
    Flag(
        name="step-timeout",
        help="Seconds without a sign of life after which a run is given up; 0 = none.",
        read=read_seconds,
        default=600.0,
    ),
    Flag(
        name="max-attempts",
        help="Runs of a job that may end the process before it is given up.",
        read=read_whole(1),
        default=2,
    ),
    Flag(
        name="retention-days",
        help="Days that finished jobs are kept, with their files; 0 = no limit.",
        read=read_whole(0),
        default=0,
    ),
    Flag(
        name="retention-bytes",
        help="Bytes that pictures of finished jobs may take; 0 = no limit.",
        read=read_whole(0),
        default=0,
    ),
)
_WEBHOOKS = (
    Flag(name="webhook-url", help="Told of every ended job.", read=read_webhook, is_secret=True),
    Flag(name="public-webhooks-only", help="Webhooks to public addresses.", default=False),
    Flag(
        name="webhook-secret",
        help="Signs webhooks; whsec_ and base64; a second one behind a comma while they change.",
        read=read_webhook_secrets,
        default=(),
        is_secret=True,
    ),
)
_RESULTS = (
    Flag(name="output-path", help="Folder of results.", read=Path),
    Flag(name="plain-base64", help="No data: prefix in base64 results.", default=False),
    Flag(name="disable-metadata", help="Never embed records.", default=False),
    Flag(name="disable-image-log", help="No page per day of its pictures.", default=False),
    Flag(
        name="preview-option",
        help="none switches previews off; the others are the same.",
        read=str,
        default="auto",
        choices=("none", "auto", "fast", "taesd"),
    ),
)
_FILES = (
    Flag(name="preset", help="Preset; tiny = the model that ships with this.", read=str),
    Flag(name="models-path", help="Root of all model folders.", read=Path),
    Flag(name="styles-path", help="Folder of style packs.", read=Path),
    Flag(name="temp-path", help="Folder of temporary files.", read=Path),
    Flag(name="cache-path", help="Folder of hashes (default: that of results).", read=Path),
    Flag(
        name="external-working-path",
        help="Folders of other installations, whose models/ are searched last.",
        read=Path,
        default=(),
        is_list=True,
    ),
    Flag(name="hf-mirror", help="Address in place of huggingface.co's.", read=read_mirror),
    Flag(
        name="disable-preset-download",
        help="Fetch no model that the preset or config.txt names.",
        default=False,
    ),
    Flag(
        name="always-download-new-model",
        help="Fetch the default model although a previous one is there.",
        default=False,
    ),
    Flag(
        name="rebuild-hash-cache",
        help="Hash all models and LoRAs again before serving, so many at a time.",
        read=read_whole(-1),
        bare=-1,
    ),
)
_DEVICE = (
    Flag(name="gpu-device-id", help="GPU to use.", read=read_whole(0)),
    *(Flag(name=name, help=text, group="vram", default=False) for name, text in _VRAM.items()),
    Flag(
        name="unload-after",
        help="Seconds without work after which all models are let go of (default 0: never).",
        read=read_seconds,
        default=0.0,
    ),
    Flag(
        name="model-cache",
        help="GiB of main memory for models not in use (default: what leaves 4 GiB free).",
        read=read_gibibytes,
    ),
    Flag(
        name="always-cpu",
        help="Use the CPU, with so many threads.",
        read=read_whole(-1),
        bare=-1,
        group="vram",
    ),
    Flag(
        name="always-offload-from-vram",
        help="Networks not in use leave the GPU in every mode.",
        default=False,
    ),
    Flag(
        name="disable-offload-from-vram",
        help="Networks not in use stay on the GPU in every mode.",
        default=False,
    ),
    *_formats("all", "fp32", "fp16"),
    *_formats("unet", "bf16", "fp16", "fp8-e4m3fn", "fp8-e5m2"),
    *_formats("vae", "fp16", "fp32", "bf16"),
    Flag(name="vae-in-cpu", help="Decode on the CPU.", default=False),
    *_formats("clip", "fp8-e4m3fn", "fp8-e5m2", "fp16", "fp32"),
    *(
        Flag(name=name, help=text, group="attention", default=False)
        for name, text in _ATTENTION.items()
    ),
    Flag(
        name="disable-attention-upcast",
        help="Split and quad attention compute half formats as they are.",
        default=False,
    ),
    Flag(name="pytorch-deterministic", help="Deterministic operations.", default=False),
)
_INERT = (
    *_inert("skip-pip"),
    Flag(name="sync-repo", help="Accepted.", read=str, effect=_NONE),
    *_inert("disable-xformers", "share", "in-browser"),
    *_inert("disable-in-browser"),
    Flag(name="theme", help="Accepted.", read=str, effect=_NONE),
    Flag(name="language", help="Accepted.", read=str, effect=_NONE),
    *_inert("disable-preset-selection", "disable-analytics", "disable-enhance-output-sorting"),
    *_inert("enable-auto-describe-image"),
    Flag(name="disable-header-check", help="Accepted.", read=str, bare="", effect=_NONE),
    Flag(name="web-upload-size", help="Accepted.", read=float, effect=_NONE),
    Flag(name="async-cuda-allocation", help="Accepted.", group="async-cuda", effect=_NONE),
    Flag(name="disable-async-cuda-allocation", help="Accepted.", group="async-cuda", effect=_NONE),
    Flag(name="directml", help="Accepted.", read=int, bare=-1, effect=_NONE),
    *_inert("disable-ipex-hijack", "disable-server-log", "debug-mode"),
    *_inert("is-windows-embedded-python", "disable-server-info", "multi-user"),
)

SECTIONS: Mapping[str, tuple[Flag, ...]] = {
    "serving": _SERVING,
    "access": _ACCESS,
    "jobs": _JOBS,
    "webhooks": _WEBHOOKS,
    "results": _RESULTS,
    "configuration and files": _FILES,
    "device and number formats": _DEVICE,
    "of other programs, without effect here": _INERT,
}
"""Flags by what they are about, in the order in which the help shows them."""

FLAGS = tuple(flag for flags in SECTIONS.values() for flag in flags)
