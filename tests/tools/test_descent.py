from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from tools.descent import Descent, run

GOAL = torch.tensor([3.0, -1.0])


def descend(path: Path) -> tuple[nn.Parameter, Descent]:
    weight = nn.Parameter(torch.zeros(2))
    return weight, Descent(path, [weight], steps=200, rate=0.1)


def step(weight: nn.Parameter, descent: Descent) -> float:
    return descent.follow((weight - GOAL).square().sum())


def test_a_run_comes_down_and_leaves_its_state(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    weight, descent = descend(path)

    run(descent, lambda: step(weight, descent), minutes_per_save=1.0)

    assert descent.step == 200
    assert torch.allclose(weight, GOAL, atol=0.05)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.pt"]


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, descent = descend(tmp_path / "state.pt")
    for count in range(6):
        if count == 4:
            descent.save()
        step(whole, descent)

    stopped, again = descend(tmp_path / "state.pt")
    again.load()
    for _ in range(2):
        step(stopped, again)

    assert torch.equal(whole, stopped)
    assert torch.equal(descent.averaged[0], again.averaged[0])
    assert again.step == 6


def test_a_run_may_take_many_steps_at_once_and_tells_of_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.pt"
    weight, descent = descend(path)
    caplog.set_level(logging.INFO, logger="tools.descent")

    def many_steps() -> float:
        return [step(weight, descent) for _ in range(8)][-1]

    run(descent, many_steps, minutes_per_save=1.0)

    assert descent.step == 200
    told = [record.args[0] for record in caplog.records if record.args]
    assert told == [24, 40, 64, 80, 104, 120, 144, 160, 184, 200]


def test_without_a_state_file_a_run_begins(tmp_path: Path) -> None:
    weight, descent = descend(tmp_path / "none.pt")

    descent.load()

    assert descent.step == 0
    assert not weight.any()


def test_averaged_weights_lag_behind_and_can_be_taken(tmp_path: Path) -> None:
    weight, descent = descend(tmp_path / "state.pt")
    for _ in range(5):
        step(weight, descent)
    averaged = descent.averaged[0].clone()

    assert 0 < float(averaged[0].detach()) < float(weight[0].detach())
    descent.settle()

    assert torch.equal(weight, averaged)


def test_stages_follow_each_other(tmp_path: Path) -> None:
    weight, descent = descend(tmp_path / "state.pt")
    stages = ((0.25, "first"), (0.5, "second"), (1.0, "last"))

    seen = []
    while descent.step < descent.steps:
        seen.append(descent.at(stages))
        step(weight, descent)

    assert [seen.count(name) for name in ("first", "second", "last")] == [50, 50, 100]
    assert (seen[0], seen[50], seen[-1]) == ("first", "second", "last")
