"""What flags and environment say about fetching."""

from __future__ import annotations

import pytest

from fooocusapi.fetch_rules import MirrorError, read_fetch_rules
from fooocusapi.flag_values import read_flags

FIRST, SECOND, THIRD = "https://a.example", "https://b.example/hub", "http://c.example:8"


@pytest.mark.parametrize(
    ("arguments", "environ", "mirror"),
    [
        ([], {}, None),
        ([], {"HF_ENDPOINT": THIRD}, THIRD),
        ([], {"HF_ENDPOINT": THIRD, "HF_MIRROR": SECOND}, SECOND),
        (["--hf-mirror", FIRST], {"HF_ENDPOINT": THIRD, "HF_MIRROR": SECOND}, FIRST),
        ([], {"HF_MIRROR": f"{SECOND}/"}, SECOND),
        ([], {"HF_MIRROR": "a.example"}, FIRST),
        ([], {"HF_MIRROR": ""}, None),
    ],
)
def test_the_flag_wins_over_the_variables(
    arguments: list[str], environ: dict[str, str], mirror: str | None
) -> None:
    assert read_fetch_rules(read_flags(arguments, {}), environ, "default").mirror == mirror


@pytest.mark.parametrize("text", ["ftp://a.example", "https://", "http://[", "https://a.example?b"])
def test_a_variable_that_is_no_address_is_named(text: str) -> None:
    with pytest.raises(MirrorError, match="HF_ENDPOINT"):
        read_fetch_rules(read_flags([], {}), {"HF_ENDPOINT": text}, "default")


@pytest.mark.parametrize(
    ("environ", "preset", "is_allowed"),
    [
        ({}, "default", True),
        ({"HF_HUB_OFFLINE": "0"}, "default", True),
        ({"HF_HUB_OFFLINE": "true"}, "default", False),
        ({"TRANSFORMERS_OFFLINE": "1"}, "default", False),
        ({}, "tiny", False),
    ],
)
def test_offline_and_with_the_embedded_model_nothing_is_fetched(
    environ: dict[str, str], preset: str, is_allowed: bool
) -> None:
    assert read_fetch_rules(read_flags([], {}), environ, preset).is_allowed is is_allowed


def test_flags_say_what_of_the_presets_is_fetched() -> None:
    usual = read_fetch_rules(read_flags([], {}), {}, "default")
    assert (usual.skips_presets, usual.wants_default_model) == (False, False)
    flags = read_flags(["--disable-preset-download", "--always-download-new-model"], {})
    changed = read_fetch_rules(flags, {}, "default")
    assert (changed.skips_presets, changed.wants_default_model) == (True, True)
