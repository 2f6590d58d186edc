"""Attaching and detaching patches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from fooocus_core.unet.patch import patched


@dataclass
class Scaling:
    """Multiplies the module's weight, and puts the former one back."""

    factor: float
    log: list[str] = field(default_factory=list)

    @contextmanager
    def attached(self, unet: nn.Linear) -> Iterator[None]:
        former = unet.weight.detach().clone()
        with torch.no_grad():
            unet.weight *= self.factor
        self.log.append(f"on {self.factor}")
        try:
            yield
        finally:
            with torch.no_grad():
                unet.weight.copy_(former)
            self.log.append(f"off {self.factor}")


class Broken:
    """Fails to attach."""

    def attached(self, _unet: nn.Module) -> None:
        raise OSError("no such file")


def test_patches_attach_in_order_and_detach_in_reverse() -> None:
    log: list[str] = []
    module = nn.Linear(3, 3)
    before = module.weight.detach().clone()
    with patched(module, [Scaling(2.0, log), Scaling(0.3, log)]):
        torch.testing.assert_close(module.weight.detach(), before * 0.6)
    assert torch.equal(module.weight.detach(), before)
    assert log == ["on 2.0", "on 0.3", "off 0.3", "off 2.0"]


def test_a_failing_block_detaches_everything() -> None:
    module = nn.Linear(3, 3)
    before = module.weight.detach().clone()
    with pytest.raises(RuntimeError), patched(module, [Scaling(2.0)]):
        raise RuntimeError
    assert torch.equal(module.weight.detach(), before)


def test_a_patch_that_fails_to_attach_detaches_those_before_it() -> None:
    module = nn.Linear(3, 3)
    before = module.weight.detach().clone()
    with pytest.raises(OSError, match="no such file"), patched(module, [Scaling(2.0), Broken()]):
        pass
    assert torch.equal(module.weight.detach(), before)
