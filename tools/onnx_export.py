"""Writes trained networks as ONNX files, their weights in half precision.

Knows nothing about what the networks are for.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPERATORS = 17
SMALL = 16  # weights with fewer numbers than this stay as they are


def write_onnx(
    network: nn.Module, shape: tuple[int, ...], path: Path, *, names: tuple[str, str]
) -> None:
    """Write a network with one input of a shape and one output, both named.

    Weights are stored as float16 and made float32 when the file is loaded.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with warnings.catch_warnings():
        # The exporter that replaces this one needs a further package, for the same file.
        warnings.simplefilter("ignore", DeprecationWarning)
        # The library's own check of sizes, which are fixed here.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # not in torch's list
        torch.onnx.export(
            network.eval(),
            (torch.zeros(shape),),
            str(part),
            input_names=[names[0]],
            output_names=[names[1]],
            opset_version=OPERATORS,
            dynamo=False,
        )
    model = onnx.load(part)
    _halve(model.graph)
    onnx.save(model, part)
    part.replace(path)


def _halve(graph: onnx.GraphProto) -> None:
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALL:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    for node in reversed(casts):
        graph.node.insert(0, node)
