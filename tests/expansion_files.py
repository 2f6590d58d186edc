"""The folder of a small prompt expansion, complete with its vocabulary."""

from __future__ import annotations

import json
import lzma
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.golden import GOLDEN


def make_expansion_folder(weights: Path, target: Path) -> Path:
    """Make the folder from the synthetic weights, which lack the vocabulary, and return it."""
    shutil.copytree(weights / "prompt_expansion" / "fooocus_expansion", target)
    lines = lzma.decompress((GOLDEN / "gpt2" / "merges.txt.xz").read_bytes()).decode().splitlines()
    (target / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    (target / "vocab.json").write_text(json.dumps(_make_vocabulary(lines)), encoding="utf-8")
    return target


def _make_vocabulary(merge_lines: Sequence[str]) -> dict[str, int]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in (*printable, *range(256, 512 - len(printable)))]
    merged = [line.replace(" ", "") for line in merge_lines[1:]]
    words = [*letters, *merged, "<|endoftext|>"]
    return {word: index for index, word in enumerate(words)}
