"""Every flag of the command line as a table, and reading them from arguments and environment.

Knows what a flag is called and what it may hold, not what it does.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fooocusapi.origins import read_origins
from fooocusapi.schemas.parameters import webhook_target
from fooocusapi.webhook_signing import read_secrets

ENVIRONMENT_PREFIX = "FOOOCUSAPI_"


class Effect(Enum):
    """What giving a flag does."""

    EFFECTIVE = "effective"
    NONE = "accepted, no effect"
    LATER = "accepted, no effect in this version"


class Source(StrEnum):
    """Where the value of a flag came from."""

    DEFAULT = "default"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


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


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            bounds = f"at least {low}" if high is None else f"{low} to {high}"
            raise argparse.ArgumentTypeError(f"{value} is not allowed, {bounds} is wanted")
        return value

    return read


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def _gibibytes(text: str) -> int:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not an amount of memory")
    return int(value * 2**30)


def _webhook(text: str) -> str:
    if webhook_target(text, may_hold_password=True) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no http(s) address")
    return text


def read_mirror(text: str) -> str:
    """The address that stands in for the hub's, without a trailing slash.

    Raises:
        argparse.ArgumentTypeError: It is no http(s) address.
    """
    address = text.strip()
    parts = urlsplit(address if "://" in address else f"https://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise argparse.ArgumentTypeError(f"{text!r} is no http(s) address")
    return parts.geturl().rstrip("/")


def _key(text: str) -> str:
    # A header holds nothing else, so with any other key nobody could be let in.
    if not (text.isascii() and text.isprintable() and text.strip() == text and text):
        raise argparse.ArgumentTypeError(
            "a key has printable ASCII characters, at least one, and no blanks around it"
        )
    return text


def _origins(text: str) -> tuple[str, ...]:
    try:
        return read_origins(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _secrets(text: str) -> tuple[bytes, ...]:
    try:
        return read_secrets(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


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


_LATER = Effect.LATER
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
    Flag(name="port", help="Port to listen on.", read=_whole(0, 65535), default=8888),
    Flag(name="base-url", help="Prefix of result addresses (default http://HOST:PORT).", read=str),
    Flag(name="log-level", help="What is logged.", read=str, default="info", choices=_LEVELS),
    Flag(name="preload-pipeline", help="Load models before serving.", default=False),
    Flag(
        name="max-body-size",
        help="Largest request body in bytes.",
        read=_whole(1),
        default=100 * 1024 * 1024,
    ),
    Flag(
        name="shutdown-grace",
        help="Seconds the running image may take when the server is stopped.",
        read=_seconds,
        default=30.0,
    ),
)
_ACCESS = (
    Flag(name="apikey", help="Key wanted in the header X-API-KEY.", read=_key, is_secret=True),
    Flag(name="api-keys-file", help="File of further keys: name:sha256:scopes.", read=Path),
    Flag(
        name="rate-limit",
        help="Requests per minute and key; 0 = any number.",
        read=_whole(0),
        default=0,
    ),
    Flag(
        name="cors-allow-origins",
        help="Origins of pages that may call, comma separated (default any).",
        read=_origins,
    ),
    Flag(
        name="allow-private-urls",
        help="Pictures may be fetched from private networks and this host.",
        default=False,
    ),
    Flag(name="strict", help="Refuse what is otherwise tolerated with a warning.", default=False),
)
_JOBS = (
    Flag(name="queue-size", help="Most jobs waiting and running.", read=_whole(1), default=100),
    Flag(
        name="queue-history",
        help="Most finished jobs kept, with their files; 0 = no limit.",
        read=_whole(0),
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
        read=_seconds,
        default=600.0,
    ),
    Flag(
        name="max-attempts",
        help="Runs of a job that may end the process before it is given up.",
        read=_whole(1),
        default=2,
    ),
    Flag(
        name="retention-days",
        help="Days that finished jobs are kept, with their files; 0 = no limit.",
        read=_whole(0),
        default=0,
    ),
    Flag(
        name="retention-bytes",
        help="Bytes that pictures of finished jobs may take; 0 = no limit.",
        read=_whole(0),
        default=0,
    ),
)
_WEBHOOKS = (
    Flag(name="webhook-url", help="Told of every ended job.", read=_webhook, is_secret=True),
    Flag(name="public-webhooks-only", help="Webhooks to public addresses.", default=False),
    Flag(
        name="webhook-secret",
        help="Signs webhooks; whsec_ and base64; a second one behind a comma while they change.",
        read=_secrets,
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
        read=_whole(-1),
        bare=-1,
    ),
)
_DEVICE = (
    Flag(name="gpu-device-id", help="GPU to use.", read=_whole(0)),
    *(Flag(name=name, help=text, group="vram", default=False) for name, text in _VRAM.items()),
    Flag(
        name="model-cache",
        help="GiB of main memory for models not in use (default: what leaves 4 GiB free).",
        read=_gibibytes,
    ),
    Flag(
        name="always-cpu",
        help="Use the CPU, with so many threads.",
        read=_whole(-1),
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

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagValues:
    """What the flags hold: command line over environment over default.

    Attributes:
        values: By the flag's key.
        given: Flags that were set by the command line or the environment.
        sources: By the flag's key.
    """

    values: Mapping[str, Any]
    given: tuple[Flag, ...]
    sources: Mapping[str, Source]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]


def read_flags(arguments: Sequence[str], environ: Mapping[str, str]) -> FlagValues:
    """Read all flags. A usage error is printed and ends the process with status 2.

    An environment variable of an exclusive group yields to a flag of that group on the command
    line.
    """
    parser = _make_parser()
    stated = vars(parser.parse_args([_dashed(argument) for argument in arguments]))
    groups = {flag.group for flag in FLAGS if flag.group and flag.key in stated}
    sources = dict.fromkeys((flag.key for flag in FLAGS), Source.DEFAULT)
    sources.update(dict.fromkeys(stated, Source.COMMAND_LINE))
    for flag in FLAGS:
        text = environ.get(flag.variable)
        if text is not None and flag.key not in stated and flag.group not in groups:
            _add_from_environment(parser, flag, text, stated)
            if flag.key in stated:
                sources[flag.key] = Source.ENVIRONMENT
    return FlagValues(
        values={flag.key: _value_of(flag, stated) for flag in FLAGS},
        given=tuple(flag for flag in FLAGS if flag.key in stated),
        sources=sources,
    )


def _value_of(flag: Flag, stated: Mapping[str, Any]) -> Any:
    value = stated.get(flag.key, flag.default)
    return tuple(value) if flag.is_list else value


def _dashed(argument: str) -> str:
    """A flag spelt with underscores as it is known; values stay as they are."""
    if not argument.startswith("--"):
        return argument
    name, mark, value = argument.partition("=")
    return name.replace("_", "-") + mark + value


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="main.py",
        usage="main.py [config | doctor | download [--all] [--list]] [flags]",
        description=(
            "Serve the Fooocus pipeline over HTTP. In front of the flags, the command 'config' "
            "prints every value that would be in effect, and where it came from; 'doctor' tells "
            "whether this host can serve, and what is missing; 'download' fetches the files of the "
            "preset that are missing, with --all every published one, and with --list tells what "
            "is missing instead."
        ),
        epilog=(
            f"Every flag can be set as {ENVIRONMENT_PREFIX}<FLAG> in the environment, and written "
            "with underscores instead of dashes."
        ),
        allow_abbrev=False,
    )
    for title, flags in SECTIONS.items():
        section = parser.add_argument_group(title)
        groups: dict[str, Any] = {}
        for flag in flags:
            target: Any = section
            if flag.group:
                if flag.group not in groups:
                    groups[flag.group] = section.add_mutually_exclusive_group()
                target = groups[flag.group]
            _add_argument(target, flag)
    return parser


def _add_argument(target: Any, flag: Flag) -> None:
    note = "" if flag.effect is Effect.EFFECTIVE else f" ({flag.effect.value})"
    common = {"dest": flag.key, "default": argparse.SUPPRESS, "help": flag.help + note}
    if flag.read is None:
        target.add_argument(f"--{flag.name}", action="store_true", **common)
        return
    if flag.is_list:
        target.add_argument(
            f"--{flag.name}", type=flag.read, nargs="+", action="extend", metavar="PATH", **common
        )
        return
    bare = {} if flag.bare is None else {"nargs": "?", "const": flag.bare}
    target.add_argument(f"--{flag.name}", type=flag.read, choices=flag.choices, **bare, **common)


def _add_from_environment(
    parser: argparse.ArgumentParser, flag: Flag, text: str, stated: dict[str, Any]
) -> None:
    if flag.read is None:
        if text.lower() not in (*_TRUE, *_FALSE):
            parser.error(f"{flag.variable}: {text!r} is neither true nor false")
        if text.lower() in _TRUE:
            stated[flag.key] = True
        return
    try:
        parts = [flag.read(part) for part in (text.split(os.pathsep) if flag.is_list else [text])]
        value = parts if flag.is_list else parts[0]
    except (ValueError, argparse.ArgumentTypeError) as error:
        parser.error(f"{flag.variable}: {error}")
    if flag.choices and value not in flag.choices:
        parser.error(f"{flag.variable}: {text!r} is not one of {', '.join(flag.choices)}")
    stated[flag.key] = value
