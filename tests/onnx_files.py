"""Small ONNX files, written without a library: the few bytes of the format that they need.

Source: the protocol buffers of onnx/onnx (Apache-2.0), onnx.proto, and their wire format.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FLOAT = 1  # TensorProto.FLOAT
_INT, _INTS = 2, 7  # AttributeProto.INT, .INTS
_IR_VERSION, _OPERATORS = 8, 13


def write_mean_network(
    path: Path, weights: NDArray[np.float32], side: int | str, *, batch: int | str = "N"
) -> Path:
    """A network from pictures to probabilities: sigmoid of the channels' means times ``weights``.

    Args:
        weights: (3, N) float32.
        side: Of the pictures, (batch, side, side, 3) float32.
        batch: A number, or the name of one that is open.
    """
    nodes = (
        _node("ReduceMean", ["picture"], "means", _integers("axes", 1, 2), _integer("keepdims", 0)),
        _node("MatMul", ["means", "weights"], "scores"),
        _node("Sigmoid", ["scores"], "probabilities"),
    )
    graph = b"".join(
        (
            *(_message(1, node) for node in nodes),
            _text(2, "means"),
            _message(5, _tensor("weights", weights)),
            _message(11, _value("picture", [batch, side, side, 3])),
            _message(12, _value("probabilities", [batch, weights.shape[1]])),
        )
    )
    operators = _text(1, "") + _number(2, _OPERATORS)
    model = _number(1, _IR_VERSION) + _message(7, graph) + _message(8, operators)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model)
    return path


def _node(kind: str, inputs: list[str], output: str, *attributes: bytes) -> bytes:
    names = b"".join(_text(1, name) for name in inputs) + _text(2, output)
    return names + _text(4, kind) + b"".join(_message(5, attribute) for attribute in attributes)


def _integer(name: str, value: int) -> bytes:
    return _text(1, name) + _number(3, value) + _number(20, _INT)


def _integers(name: str, *values: int) -> bytes:
    return _text(1, name) + b"".join(_number(8, value) for value in values) + _number(20, _INTS)


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    sides = b"".join(_number(1, side) for side in values.shape)
    return sides + _number(2, _FLOAT) + _text(8, name) + _message(9, values.tobytes())


def _value(name: str, shape: list[int | str]) -> bytes:
    sides = b"".join(
        _message(1, _number(1, side) if isinstance(side, int) else _text(2, side)) for side in shape
    )
    tensor_type = _number(1, _FLOAT) + _message(2, sides)
    return _text(1, name) + _message(2, _message(1, tensor_type))


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
