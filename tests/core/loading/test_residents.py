"""Networks come to the device after others have left it, and wait unchanged in main memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fooocus_core.errors import DeviceMemoryError
from fooocus_core.loading.residents import WORKING_MEMORY, Residents
from tests.networks import CPU_PLAN

CPU = torch.device("cpu")
# Another device than "cpu" to the code, and the same memory to torch.
ELSEWHERE = torch.device("cpu", 0)
MOVING = replace(CPU_PLAN, device=ELSEWHERE, vae_device=CPU, stays=False)


class Device:
    """Room for so many tensors; knows which of them it holds."""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.brought = 0

    def carry(self, tensor: Tensor, device: torch.device) -> Tensor:
        assert device == ELSEWHERE
        self.brought += 1
        if self.brought > self.room:
            raise torch.OutOfMemoryError("full")
        return tensor.clone()


def is_home(network: nn.Linear, places: dict[nn.Module, int]) -> bool:
    return network.weight.data_ptr() == places[network]


@pytest.fixture
def networks() -> list[nn.Linear]:
    return [nn.Linear(2, 2) for _ in range(3)]


@pytest.fixture
def places(networks: list[nn.Linear]) -> dict[nn.Module, int]:
    return {network: network.weight.data_ptr() for network in networks}


def test_what_is_brought_sends_all_others_home(
    networks: list[nn.Linear], places: dict[nn.Module, int]
) -> None:
    residents = Residents(MOVING, Device().carry)
    residents.bring(networks[0], networks[1], device=ELSEWHERE)
    residents.bring(networks[1], networks[2], device=ELSEWHERE)
    assert [is_home(network, places) for network in networks] == [True, False, False]
    residents.bring(device=ELSEWHERE)
    assert all(is_home(network, places) for network in networks)


def test_what_is_there_is_not_brought_again(networks: list[nn.Linear]) -> None:
    device = Device()
    residents = Residents(MOVING, device.carry)
    for _ in range(3):
        residents.bring(networks[0], device=ELSEWHERE)
    assert device.brought == 2


@pytest.mark.parametrize(("spare", "stay"), [(0, [False, False]), (-1, [True, False])])
def test_others_stay_as_long_as_there_is_memory_to_work_with(
    networks: list[nn.Linear], places: dict[nn.Module, int], spare: int, stay: list[bool]
) -> None:
    weights = sum(weight.nbytes for weight in networks[1].parameters())
    free = WORKING_MEMORY + weights + spare
    residents = Residents(MOVING, Device().carry, lambda _device: free)
    residents.bring(networks[0], device=ELSEWHERE)
    residents.bring(networks[1], device=ELSEWHERE)
    assert [is_home(network, places) for network in networks[:2]] == stay


def test_what_computes_in_main_memory_moves_nothing(
    networks: list[nn.Linear], places: dict[nn.Module, int]
) -> None:
    residents = Residents(MOVING, Device().carry)
    residents.bring(networks[0], device=ELSEWHERE)
    residents.bring(networks[1], device=CPU)
    assert [is_home(network, places) for network in networks] == [False, True, True]


def test_networks_that_stay_are_never_moved(networks: list[nn.Linear]) -> None:
    device = Device()
    residents = Residents(replace(MOVING, stays=True), device.carry)
    residents.bring(*networks, device=ELSEWHERE)
    assert device.brought == 0


def test_nothing_is_left_on_a_device_without_room(
    networks: list[nn.Linear], places: dict[nn.Module, int]
) -> None:
    residents = Residents(MOVING, Device(room=3).carry)
    residents.bring(networks[0], device=ELSEWHERE)
    with pytest.raises(DeviceMemoryError, match="bringing a network"):
        residents.bring(networks[0], networks[1], device=ELSEWHERE)
    assert all(is_home(network, places) for network in networks)


def test_everything_leaves_when_cleared(
    networks: list[nn.Linear], places: dict[nn.Module, int]
) -> None:
    residents = Residents(MOVING, Device().carry)
    residents.bring(*networks, device=ELSEWHERE)
    residents.clear()
    assert all(is_home(network, places) for network in networks)
