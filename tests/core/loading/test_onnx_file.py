"""ONNX files are opened and computed, and damage is named."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fooocus_core.errors import ModelFileError, PackageMissingError
from fooocus_core.loading.onnx_file import load_onnx
from tests.golden import random_array
from tests.networks import CPU_PLAN
from tests.onnx_files import write_mean_network

WEIGHTS = random_array(1, (3, 6))
SIDE = 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_mean_network(tmp_path / "network.onnx", WEIGHTS, SIDE)


@pytest.mark.parametrize("threads", [None, 1])
def test_a_network_computes(path: Path, threads: int | None) -> None:
    values = random_array(2, (1, SIDE, SIDE, 3))

    output = load_onnx(path, replace(CPU_PLAN, threads=threads)).run(values)

    expected = 1 / (1 + np.exp(-values.mean(axis=(1, 2)) @ WEIGHTS))
    np.testing.assert_allclose(output, expected, rtol=1e-5)
    assert output.dtype == np.float32


@pytest.mark.parametrize(("batch", "first"), [("N", None), (1, 1)], ids=["open", "fixed"])
def test_a_network_tells_the_shape_of_its_input(
    batch: int | str, first: int | None, tmp_path: Path
) -> None:
    path = write_mean_network(tmp_path / "network.onnx", WEIGHTS, SIDE, batch=batch)

    assert load_onnx(path, CPU_PLAN).input_shape == (first, SIDE, SIDE, 3)


def test_an_input_of_another_shape_is_an_error_naming_the_file(path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"network\.onnx cannot be computed"):
        load_onnx(path, CPU_PLAN).run(random_array(2, (1, 3, 3, 3)))


def test_values_that_are_no_numbers_are_noticed(path: Path) -> None:
    values = np.full((1, SIDE, SIDE, 3), np.nan, np.float32)

    with pytest.raises(ModelFileError, match=r"network\.onnx.*not finite"):
        load_onnx(path, CPU_PLAN).run(values)


@pytest.mark.parametrize("length", [0, 3, 60, -1])
def test_a_truncated_file_is_an_error_naming_it(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(ModelFileError, match=r"network\.onnx"):
        load_onnx(path, CPU_PLAN)


def test_a_missing_file_or_one_of_another_format_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    with pytest.raises(ModelFileError, match=r"network\.onnx"):
        load_onnx(path, CPU_PLAN)
    path.write_text("<html>not found</html>", encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"network\.onnx"):
        load_onnx(path, CPU_PLAN)


def test_without_the_library_the_error_says_what_to_install(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(PackageMissingError, match=r"network\.onnx.*onnxruntime.*'onnx'"):
        load_onnx(path, CPU_PLAN)
