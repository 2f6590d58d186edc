"""Changes of weights: the kinds a LoRA or patch file can hold, merging them, and undoing that.

Does not know the files or the names in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """LoRA or LoCon: ``strength * alpha / rank * up @ down``.

    Attributes:
        up: (out, r) or (out, r, 1, 1).
        down: (r, in), (r, in, kh, kw), or (r_in, in, 1, 1) beside ``mid``.
        mid: Core of a Tucker decomposition, (r, r_in, kh, kw).
        alpha: ``None`` leaves out the factor ``alpha / rank``; rank = rows of ``down``.

    Source:
        arXiv:2106.09685, section 4.1; the mid tensor: arXiv:2309.14859, section 3.
    """

    up: Tensor
    down: Tensor
    mid: Tensor | None = None
    alpha: float | None = None

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """What is added to ``weight``; same shape, float32."""
        down = self.down if self.mid is None else _tucker_down(self.down, self.mid)
        scale = strength * _ratio(self.alpha, self.down.shape[0])
        return (scale * (self.up.flatten(1) @ down.flatten(1))).reshape(weight.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hadamard:
    """LoHa: the elementwise product of two low-rank matrices.

    Attributes:
        w1_a, w2_a: (out, r); (r, out) beside a core.
        w1_b, w2_b: (r, in); for a convolution without core (r, in * kh * kw).
        t1, t2: Cores of Tucker decompositions, (r, r, kh, kw); both or none.
        alpha: ``None`` leaves out the factor ``alpha / r``.

    Source:
        arXiv:2108.06098, section 2.2; arXiv:2309.14859, section 3.
    """

    w1_a: Tensor
    w1_b: Tensor
    w2_a: Tensor
    w2_b: Tensor
    t1: Tensor | None = None
    t2: Tensor | None = None
    alpha: float | None = None

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """What is added to ``weight``; same shape, float32."""
        first = _product(self.w1_a, self.w1_b, self.t1)
        second = _product(self.w2_a, self.w2_b, self.t2)
        scale = strength * _ratio(self.alpha, self.w1_b.shape[0])
        return (scale * first * second).reshape(weight.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kronecker:
    """LoKr: the Kronecker product of two matrices, each given whole or as ``a @ b``.

    Attributes:
        w1, w2: Whole factors; ``w2`` may be a convolution (o, i, kh, kw).
        w1_a, w1_b, w2_a, w2_b: Low-rank factors used where the whole one is missing.
        t2: Core of a Tucker decomposition of the second factor.
        alpha: Only counts where a factor is low-rank; then divided by the rows of its ``b``,
            those of the second factor if both are.

    Source:
        arXiv:2309.14859, section 3.
    """

    w1: Tensor | None = None
    w1_a: Tensor | None = None
    w1_b: Tensor | None = None
    w2: Tensor | None = None
    w2_a: Tensor | None = None
    w2_b: Tensor | None = None
    t2: Tensor | None = None
    alpha: float | None = None

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """What is added to ``weight``; same shape, float32."""
        first, second, rank = self.w1, self.w2, None
        if first is None:
            assert self.w1_a is not None
            assert self.w1_b is not None
            first, rank = self.w1_a @ self.w1_b, self.w1_b.shape[0]
        if second is None:
            assert self.w2_a is not None
            assert self.w2_b is not None
            second, rank = _product(self.w2_a, self.w2_b, self.t2), self.w2_b.shape[0]
        if second.dim() == 4:
            first = first[:, :, None, None]
        scale = strength * (1.0 if rank is None else _ratio(self.alpha, rank))
        # torch 2.13 refuses factors that are not contiguous, as einsum may return them.
        product = torch.kron(first.contiguous(), second.contiguous())
        return (scale * product).reshape(weight.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Glora:
    """GLoRA: ``strength * alpha / rank * (b2 @ b1 + (W @ a2) @ a1)``; rank = rows of ``a1``.

    The only kind that depends on the weight: it sees the patches before it.

    Source:
        arXiv:2306.07967, section 3.
    """

    a1: Tensor
    a2: Tensor
    b1: Tensor
    b2: Tensor
    alpha: float | None = None

    def delta(self, weight: Tensor, strength: float) -> Tensor:
        """What is added to ``weight``; same shape, float32."""
        a1, a2, b1, b2 = (factor.flatten(1) for factor in (self.a1, self.a2, self.b1, self.b2))
        scale = strength * _ratio(self.alpha, a1.shape[0])
        return (scale * (b2 @ b1 + (weight.flatten(1) @ a2) @ a1)).reshape(weight.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A whole difference, of the shape of the weight."""

    value: Tensor

    def delta(self, weight: Tensor, strength: float) -> Tensor:  # noqa: ARG002 (as the others)
        """What is added to ``weight``; same shape, float32."""
        return strength * self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """A whole difference in 8 bits: ``value / 255 * (maximum - minimum) + minimum``.

    Attributes:
        value: uint8, the shape of the weight.
        minimum, maximum: Broadcastable to it: one number, or one per row.

    Source:
        Fooocus's own format of its inpaint patches (lllyasviel/Fooocus, modules/patch.py).
    """

    value: Tensor
    minimum: Tensor
    maximum: Tensor

    def delta(self, weight: Tensor, strength: float) -> Tensor:  # noqa: ARG002 (as the others)
        """What is added to ``weight``; same shape, float32."""
        span = self.maximum - self.minimum
        return strength * (self.value / 255.0 * span + self.minimum)


WeightPatch = LowRank | Hadamard | Kronecker | Glora | Difference | Quantised


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSet:
    """The patches of one file for one network.

    Attributes:
        source: File name, for messages.
        patches: By parameter name of the network.
        strength: Factor on all of them; 0.0 is neutral.
    """

    source: str
    patches: Mapping[str, WeightPatch]
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchedWeights:
    """Weights of a network with patches merged, beside those that the network has.

    Attributes:
        values: By parameter name, in main memory, in the dtype of the network's own.
        warnings: As :func:`merged_weights` yields them.
    """

    values: Mapping[str, Tensor]
    warnings: tuple[str, ...]


@contextmanager
def merged_weights(
    network: nn.Module,
    sets: Sequence[PatchSet],
    *,
    device: torch.device,
    rounding: torch.dtype | None = None,
) -> Iterator[tuple[str, ...]]:
    """Merge patches into the weights of a network; afterwards every bit is as before.

    Each weight is taken to float32, all its patches are added in the order of ``sets``, and the
    sum is rounded once. The originals of the weights touched, and only those, are kept in main
    memory and copied back, because subtracting does not restore the bits.

    Args:
        network: Changed in place.
        sets: Patches for parameters that ``network`` lacks have no effect.
        device: Where the sums are computed.
        rounding: dtype the sums are rounded to, for networks whose weights are kept in a wider
            one; ``None`` rounds to the dtype of each weight.

    Yields:
        A warning per set with tensors that do not fit their weights; those are left out.
    """
    originals: dict[str, Tensor] = {}
    misfits: dict[str, list[str]] = {}
    try:
        for name, weight in network.named_parameters():
            patches = _fitting(name, weight, sets, misfits)
            if patches:
                originals[name] = weight.detach().to("cpu", copy=True)
                with torch.no_grad():
                    weight.copy_(_merged(weight, patches, device, rounding))
        yield _misfit_warnings(misfits)
    finally:
        with torch.no_grad():
            for name, original in originals.items():
                network.get_parameter(name).copy_(original)


@torch.no_grad()
def patched_weights(
    network: nn.Module,
    patch_set: PatchSet,
    *,
    device: torch.device,
    rounding: torch.dtype | None = None,
) -> PatchedWeights:
    """Merge patches as :func:`merged_weights` does, but leave the network as it is.

    Args:
        network: Only read.
        patch_set: Patches for parameters that ``network`` lacks have no effect.
        device: Where the sums are computed.
        rounding: As for :func:`merged_weights`.
    """
    values: dict[str, Tensor] = {}
    misfits: dict[str, list[str]] = {}
    for name, weight in network.named_parameters():
        patches = _fitting(name, weight, [patch_set], misfits)
        if patches:
            values[name] = _merged(weight, patches, device, rounding).to("cpu", weight.dtype)
    return PatchedWeights(values=values, warnings=_misfit_warnings(misfits))


def _fitting(
    name: str, weight: Tensor, sets: Sequence[PatchSet], misfits: dict[str, list[str]]
) -> list[tuple[WeightPatch, float]]:
    patches = []
    for patch_set in sets:
        patch = patch_set.patches.get(name)
        if patch is None:
            continue
        if _fits(patch, weight.shape):
            patches.append((patch, patch_set.strength))
        else:
            misfits.setdefault(patch_set.source, []).append(name)
    return patches


def _fits(patch: WeightPatch, shape: torch.Size) -> bool:
    meta = torch.device("meta")
    try:
        return _moved(patch, meta).delta(torch.empty(shape, device=meta), 1.0).shape == shape
    # How torch reports shapes that do not go together; a rank of zero divides by zero.
    except (RuntimeError, IndexError, ZeroDivisionError):
        return False


def _merged(
    weight: nn.Parameter,
    patches: Sequence[tuple[WeightPatch, float]],
    device: torch.device,
    rounding: torch.dtype | None,
) -> Tensor:
    total = weight.detach().to(device, torch.float32, copy=True)
    for patch, strength in patches:
        total += _moved(patch, device).delta(total, strength)
    return total.to(rounding or weight.dtype)


def _moved(patch: WeightPatch, device: torch.device) -> WeightPatch:
    values = {field.name: getattr(patch, field.name) for field in fields(patch)}
    tensors: dict[str, Any] = {
        # In this order, because files hold narrower numbers: fewer bytes travel.
        name: value.to(device).float()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    return replace(patch, **tensors)


def _misfit_warnings(misfits: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(
        f"{source}: {len(names)} of its tensors do not have the shape of this model's weights and "
        f"were left out (first: {names[0]})."
        for source, names in misfits.items()
    )


def _ratio(alpha: float | None, rank: int) -> float:
    return 1.0 if alpha is None else alpha / rank


def _product(a: Tensor, b: Tensor, core: Tensor | None) -> Tensor:
    return a @ b if core is None else torch.einsum("ijkl,jr,ip->prkl", core, b, a)


def _tucker_down(down: Tensor, mid: Tensor) -> Tensor:
    columns = down.flatten(1).T @ mid.transpose(0, 1).flatten(1)
    rows, *kernel = mid.shape[0], *mid.shape[2:]
    return columns.reshape(down.shape[1], rows, *kernel).transpose(0, 1)
