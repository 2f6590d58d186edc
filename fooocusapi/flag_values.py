"""Arguments and environment -> what the flags hold. Knows no flag by its name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fooocusapi.flags import ENVIRONMENT_PREFIX, FLAGS, SECTIONS, Effect, Flag

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


class Source(StrEnum):
    """Where the value of a flag came from."""

    DEFAULT = "default"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagValues:
    """What the flags hold: command line over environment over default.

    Attributes:
        values: By the flag's key.
        sources: By the flag's key.
    """

    values: Mapping[str, Any]
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
