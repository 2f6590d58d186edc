"""Small networks of the rembg family, with the inputs and outputs of the published files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.onnx_ml_pb2 import NodeProto

_SIDE_OUTPUTS = 6


def write_saliency_network(path: Path, side: int) -> Path:
    """A network that gives how red a place is; beside it, as the published ones, side outputs."""
    weights = np.zeros((1, 3, 1, 1), np.float32)
    weights[0, 0] = 1
    nodes = [_convolution("mixed"), helper.make_node("Sigmoid", ["mixed"], ["d0"])]
    names = ["d0"]
    for number in range(1, _SIDE_OUTPUTS + 1):
        names.append(f"d{number}")
        nodes.append(helper.make_node("Neg", ["mixed"], [names[-1]]))
    return _write(path, side, nodes, names, weights)


def write_garment_network(path: Path, side: int) -> Path:
    """A network that takes black for nothing, red for upper, green for lower and blue for full."""
    weights = np.zeros((4, 3, 1, 1), np.float32)
    weights[0] = -1
    for number in range(3):
        weights[number + 1, number] = 3
    return _write(path, side, [_convolution("d0")], ["d0"], weights)


def _convolution(output: str) -> NodeProto:
    return helper.make_node("Conv", ["input.1", "weights"], [output])


def _write(
    path: Path,
    side: int,
    nodes: list[NodeProto],
    names: list[str],
    weights: NDArray[np.float32],
) -> Path:
    shape = [1, len(weights), side, side]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names],
        [numpy_helper.from_array(weights, "weights")],
    )
    return _save(path, graph)


def _save(path: Path, graph: onnx.GraphProto) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path
