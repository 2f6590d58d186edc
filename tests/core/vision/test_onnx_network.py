"""Networks in ONNX files: running them, and what is wrong with a file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from fooocus_core.errors import ModelFileError, PackageNotFoundError
from fooocus_core.vision.onnx_network import load_onnx
from tests.networks import CPU_PLAN
from tests.onnx_files import write_network_of, write_saliency_network

SHAPE = [1, 2, 3, 4]


def test_the_first_output_counts(tmp_path: Path) -> None:
    network = load_onnx(write_saliency_network(tmp_path / "u2net.onnx", 4), CPU_PLAN)
    red = np.zeros((1, 3, 4, 4), np.float32)
    red[0, 0] = 1
    np.testing.assert_allclose(network.run(red), np.full((1, 1, 4, 4), 1 / (1 + np.exp(-1))))


def test_it_computes_with_the_threads_of_the_plan(tmp_path: Path) -> None:
    path = write_network_of(tmp_path / "x.onnx", TensorProto.FLOAT, SHAPE, 2)
    network = load_onnx(path, replace(CPU_PLAN, threads=1))
    assert network._session.get_session_options().intra_op_num_threads == 1
    assert network._session.get_providers() == ["CPUExecutionProvider"]
    assert np.array_equal(network.run(np.ones(SHAPE, np.float32)), np.full(SHAPE, 2))


@pytest.mark.parametrize(
    ("elements", "shape"),
    [(TensorProto.FLOAT, [3, 4]), (TensorProto.DOUBLE, SHAPE), (TensorProto.INT64, SHAPE)],
    ids=["two dimensions", "float64", "whole numbers"],
)
def test_a_network_of_other_inputs_is_refused(
    tmp_path: Path, elements: int, shape: list[int]
) -> None:
    path = write_network_of(tmp_path / "u2net.onnx", elements, shape)
    with pytest.raises(ModelFileError, match=r"u2net\.onnx does not take one picture"):
        load_onnx(path, CPU_PLAN)


@pytest.mark.parametrize("content", [b"", b"no network"], ids=["empty", "text"])
def test_a_file_that_is_no_network_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "u2net.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"u2net\.onnx cannot be loaded"):
        load_onnx(path, CPU_PLAN)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"u2net\.onnx cannot be loaded"):
        load_onnx(tmp_path / "u2net.onnx", CPU_PLAN)


def test_a_picture_of_another_shape_is_told(tmp_path: Path) -> None:
    network = load_onnx(write_network_of(tmp_path / "x.onnx", TensorProto.FLOAT, SHAPE), CPU_PLAN)
    with pytest.raises(ModelFileError, match=r"x\.onnx cannot be evaluated"):
        network.run(np.ones((1, 2, 3, 5), np.float32))


def test_values_that_are_not_finite_are_told(tmp_path: Path) -> None:
    path = write_network_of(tmp_path / "x.onnx", TensorProto.FLOAT, SHAPE, float("inf"))
    with pytest.raises(ModelFileError, match=r"x\.onnx gave values that are not finite"):
        load_onnx(path, CPU_PLAN).run(np.ones(SHAPE, np.float32))


def test_without_the_library_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PackageNotFoundError) as raised:
        load_onnx(tmp_path / "u2net.onnx", CPU_PLAN)
    assert "u2net.onnx needs the package onnxruntime" in str(raised.value)
    assert "pip install 'fooocusapi[onnx]'" in str(raised.value)
