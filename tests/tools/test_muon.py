"""Tests of the optimiser of the embedded model."""

from copy import deepcopy

import torch
from torch import nn

from tools.muon import MuonAndAdamW, Part, part_of


class _Parts(nn.Module):
    """One weight of each sort."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(4, 3)
        self.conv = nn.Conv2d(3, 5, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.conv(self.words(ids).mT[..., None]).mean((0, 2, 3))


IDS = torch.tensor([[0, 1]])


def _parts() -> _Parts:
    torch.manual_seed(0)
    return _Parts()


def _loss(parts: _Parts) -> torch.Tensor:
    return (parts(IDS) - torch.arange(5.0)).square().sum()


def test_a_step_changes_every_weight_of_the_module_itself() -> None:
    parts = _parts()
    before = [weight.detach().clone() for weight in parts.parameters()]
    optimizer = MuonAndAdamW([part_of(parts)])
    optimizer.follow(_loss(parts), 0.01)
    for old, new in zip(before, parts.parameters(), strict=True):
        assert not torch.equal(old, new.detach())


def test_steps_lead_to_the_goal() -> None:
    parts = _parts()
    optimizer = MuonAndAdamW([part_of(parts)])
    first = _loss(parts).item()
    for _ in range(300):
        optimizer.follow(_loss(parts), 0.03)
    assert _loss(parts).item() < first / 100


def test_a_matrix_moves_as_far_in_each_of_its_directions() -> None:
    parts = _parts()
    before = parts.conv.weight.detach().flatten(1).clone()
    generator = torch.Generator().manual_seed(1)
    slope = (
        torch.randn(5, 3, 1, 1, generator=generator) * torch.tensor([9.0, 1.0, 0.1])[:, None, None]
    )
    optimizer = MuonAndAdamW([part_of(parts)])
    optimizer.follow((parts.conv.weight * slope).sum() + 0 * _loss(parts), 0.01)
    far = torch.linalg.svdvals(before - parts.conv.weight.detach().flatten(1))
    assert far.max() / far.min() < 2 < torch.linalg.svdvals(slope.flatten(1)).max()


def test_a_share_of_zero_leaves_a_module_alone() -> None:
    parts, other = _parts(), _parts()
    before = [weight.detach().clone() for weight in other.parameters()]
    optimizer = MuonAndAdamW([part_of(parts), part_of(other, share=0.0)])
    optimizer.follow(_loss(parts) + _loss(other), 0.01)
    for old, new in zip(before, other.parameters(), strict=True):
        assert torch.equal(old, new.detach())


def test_a_weight_without_a_gradient_stays() -> None:
    parts = _parts()
    before = parts.words.weight.detach().clone()
    optimizer = MuonAndAdamW([part_of(parts)])
    optimizer.follow(parts.conv.weight.sum(), 0.01)
    assert torch.equal(before, parts.words.weight.detach())


def test_a_run_goes_on_from_its_state_as_if_it_had_not_been_stopped() -> None:
    parts = _parts()
    optimizer = MuonAndAdamW([part_of(parts)])
    for _ in range(3):
        optimizer.follow(_loss(parts), 0.01)
    copy = _parts()
    copy.load_state_dict(parts.state_dict())
    again = MuonAndAdamW([part_of(copy)])
    again.load_state_dict(deepcopy(optimizer.state_dict()))
    for _ in range(2):
        optimizer.follow(_loss(parts), 0.01)
        again.follow(_loss(copy), 0.01)
    for one, two in zip(parts.parameters(), copy.parameters(), strict=True):
        assert torch.equal(one, two)


def test_either_optimiser_may_have_nothing_to_do() -> None:
    for matrices in (False, True):
        weight = nn.Parameter(torch.ones(3, 2))
        parts = (
            {"singles": [], "matrices": [weight]}
            if matrices
            else {"singles": [weight], "matrices": []}
        )
        MuonAndAdamW([Part(**parts)]).follow((weight * weight).sum(), 0.1)
        assert (weight < 1).all()
