"""Lent weights come back as they were, and a network computes the same while they are lent."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fooocus_core.loading.leases import (
    Lease,
    lend_during_forward,
    portions,
    stream_weights,
)
from fooocus_core.loading.memory import DevicePlan, Streaming
from tests.networks import CPU_PLAN, manifest_unet

# Another device than "cpu" to the code, and the same memory to torch.
ELSEWHERE = torch.device("cpu", 0)


class Carrier:
    """Copies like a device would, and counts what exists there."""

    def __init__(self) -> None:
        self.carried = 0
        self.devices: set[torch.device] = set()

    def __call__(self, tensor: Tensor, device: torch.device) -> Tensor:
        self.carried += tensor.numel()
        self.devices.add(device)
        return tensor.clone()


class Net(nn.Module):
    """Two blocks of two layers in a list, and a layer before them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return x


def streaming_plan(streaming: Streaming) -> DevicePlan:
    return replace(CPU_PLAN, device=ELSEWHERE, streaming=streaming)


def test_a_lease_ends_with_the_same_memory() -> None:
    layer = nn.BatchNorm1d(3)
    before = {name: tensor.data_ptr() for name, tensor in layer.state_dict().items()}
    lease = Lease(layer, torch.clone)
    lease.begin()
    lent = {name: tensor.data_ptr() for name, tensor in layer.state_dict().items()}
    assert not set(before.values()) & set(lent.values())
    lease.end()
    assert {name: tensor.data_ptr() for name, tensor in layer.state_dict().items()} == before


def test_a_lease_that_fails_can_be_ended() -> None:
    def fail_at_the_second(tensor: Tensor) -> Tensor:
        if tensor.dim() == 1:
            raise torch.OutOfMemoryError("full")
        return tensor.half()

    layer = nn.Linear(3, 3)
    lease = Lease(layer, fail_at_the_second)
    with pytest.raises(torch.OutOfMemoryError):
        lease.begin()
    assert layer.weight.dtype == torch.float16
    lease.end()
    assert layer.weight.dtype == torch.float32


def test_a_module_that_fails_has_its_weights_back() -> None:
    layer = nn.Linear(3, 3)
    lend_during_forward(layer, torch.Tensor.double)
    with pytest.raises(RuntimeError):
        layer(torch.zeros(1, 4, dtype=torch.float64))
    assert layer.weight.dtype == torch.float32
    assert layer(torch.zeros(1, 3, dtype=torch.float64)).dtype == torch.float64


def test_the_later_of_two_arrangements_copies_the_copy() -> None:
    seen = []

    def note(tensor: Tensor) -> Tensor:
        seen.append(tensor.dtype)
        return tensor.float()

    layer = nn.Linear(3, 3, bias=False)
    weight = layer.weight.data
    lend_during_forward(layer, torch.Tensor.double)
    lend_during_forward(layer, note)
    assert layer(torch.zeros(1, 3)).dtype == torch.float32
    assert seen == [torch.float64]
    assert layer.weight.data_ptr() == weight.data_ptr()


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [(0, [40, 72, 72, 72, 72]), (100, [40, 72, 72, 72, 72]), (144, [40, 144, 144])],
)
def test_portions_are_layers_or_blocks_but_never_lists(largest: int, sizes: list[int]) -> None:
    parts = list(portions(Net(), largest))
    assert [sum(weight.numel() for weight in part.parameters()) for part in parts] == sizes
    assert not any(isinstance(part, nn.ModuleList) for part in parts)


@pytest.mark.parametrize("streaming", Streaming)
def test_a_streamed_network_computes_the_same_and_keeps_nothing(streaming: Streaming) -> None:
    network, carrier = Net(), Carrier()
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    expected = network(x)
    places = [weight.data_ptr() for weight in network.parameters()]

    stream_weights(network, streaming_plan(streaming), carrier)

    assert torch.equal(network(x), expected)
    assert carrier.carried == sum(weight.numel() for weight in network.parameters())
    assert carrier.devices == {ELSEWHERE}
    assert [weight.data_ptr() for weight in network.parameters()] == places


def test_without_streaming_nothing_is_carried() -> None:
    network, carrier = Net(), Carrier()
    stream_weights(network, CPU_PLAN, carrier)
    network(torch.zeros(1, 4))
    assert carrier.carried == 0


@pytest.mark.parametrize(
    ("share", "largest"), [(16, 2567463684 // 16), (None, 1280 * 10240 + 10240)], ids=str
)
def test_a_real_unet_is_streamed_in_small_portions(share: int | None, largest: int) -> None:
    unet = manifest_unet("sdxl_base")
    weights = sum(weight.numel() for weight in unet.parameters())
    parts = list(portions(unet, weights // share if share else 0))
    sizes = [sum(weight.numel() for weight in part.parameters()) for part in parts]
    assert sum(sizes) == weights == 2567463684
    assert max(sizes) <= (largest if share else 1920 * 1280 * 9 * 2)
