"""A checkpoint of the published size: 2.6 billion weights, made on the spot."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.load_time import load_elsewhere, read_plainly
from benchmarks.made_models import CHECKPOINT, write_real_family
from fooocus_core.config import Precision


@pytest.mark.slow
def test_a_full_size_checkpoint_loads_quickly_into_little_more_memory_than_its_file(
    tmp_path: Path,
) -> None:
    write_real_family(tmp_path)
    path = tmp_path / CHECKPOINT
    read_plainly(path)
    plain = read_plainly(path)
    loaded = load_elsewhere(path, Precision.FP16)
    assert loaded["peak_mib"] * 2**20 < 1.15 * path.stat().st_size
    assert loaded["seconds"] <= 1.5 * plain
