from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from fooocus_core.config import DeviceOptions
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.onnx_file import load_onnx
from tools.onnx_export import write_onnx


def test_a_network_is_written_in_half_precision_and_computes_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, path = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), tmp_path / "network.onnx"
    values = torch.rand(1, 3, 8, 8)

    write_onnx(network, (1, 3, 8, 8), path, names=("input.1", "d0"))
    given = load_onnx(path, plan_device(None, DeviceOptions())).run(values.numpy())

    with torch.no_grad():
        np.testing.assert_allclose(given, network(values).numpy(), atol=2e-3)
    graph = onnx.load(path).graph
    assert [graph.input[0].name, graph.output[0].name] == ["input.1", "d0"]
    assert {tensor.data_type for tensor in graph.initializer if len(tensor.dims) > 1} == {
        onnx.TensorProto.FLOAT16
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.onnx"]
