"""Which source of configuration wins, pair by pair."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from fooocus_core.config import CoreConfig, load_config

# Lowest first.
FILES = {
    "preset default": "presets/default.json",
    "config.txt": "config.txt",
    "preset mine": "presets/mine.json",
}
LAYERS = ("built-in", *FILES, "environment")
PAIRS = list(combinations(LAYERS, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A key, its built-in value, and one value for every layer above that."""

    key: str
    builtin: Any
    values: tuple[Any, Any, Any, Any]

    def value_of(self, layer: str) -> Any:
        """What the layer says."""
        return (self.builtin, *self.values)[LAYERS.index(layer)]


EXAMPLES = [
    Example(key="default_cfg_scale", builtin=7.0, values=(2.0, 3.0, 4.0, 5.0)),
    Example(key="default_clip_skip", builtin=2, values=(3, 4, 5, 6)),
    Example(key="default_model", builtin="model.safetensors", values=("a", "b", "c", "d")),
    Example(key="default_prompt", builtin="", values=("a", "b", "c", "d")),
    Example(
        key="default_sampler", builtin="dpmpp_2m_sde_gpu", values=("lcm", "tcd", "lms", "ddim")
    ),
    Example(key="default_black_out_nsfw", builtin=False, values=(True, False, True, False)),
    Example(key="previous_default_models", builtin=[], values=(["a", "b"], ["c"], [], ["d"])),
    Example(
        key="checkpoint_downloads",
        builtin={},
        values=({"a": "u", "b": "u"}, {"b": "v"}, {}, {"c": "w"}),
    ),
]


def load(root: Path, example: Example, layers: Collection[str]) -> CoreConfig:
    """The configuration in which exactly these layers have the key."""
    for layer, file in FILES.items():
        path = root / file
        path.parent.mkdir(exist_ok=True)
        said = {example.key: example.value_of(layer)} if layer in layers else {}
        path.write_text(json.dumps(said), encoding="utf-8")
    environ = {example.key: str(example.value_of("environment"))}
    return load_config(root=root, preset="mine", environ=environ if "environment" in layers else {})


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.key)
@pytest.mark.parametrize(("lower", "higher"), PAIRS, ids=" under ".join)
def test_of_two_layers_the_higher_one_wins(
    lower: str, higher: str, example: Example, tmp_path: Path
) -> None:
    config = load(tmp_path, example, (lower, higher))
    assert plain(config.values[example.key]) == example.value_of(higher)
    assert config.sources[example.key] == higher
    assert config.warnings == ()
