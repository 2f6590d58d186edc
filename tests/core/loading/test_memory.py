"""Devices get the number formats of the table, and options change them."""

from __future__ import annotations

import pytest
import torch

from fooocus_core.config import DeviceOptions, Precision
from fooocus_core.errors import DeviceMemoryError
from fooocus_core.loading.memory import DevicePlan, Gpu, memory_errors, plan_device, use_threads

NEW = Gpu(index=0, name="NVIDIA H100", capability=(9, 0))
OLD = Gpu(index=0, name="NVIDIA T4", capability=(7, 5))
ODD = Gpu(index=0, name="NVIDIA GeForce GTX 1660", capability=(7, 5))
ANCIENT = Gpu(index=0, name="NVIDIA GeForce GTX 1080", capability=(6, 1))
HALF, SINGLE, BRAIN = torch.float16, torch.float32, torch.bfloat16


def dtypes(plan: DevicePlan) -> tuple[torch.dtype, ...]:
    return plan.unet, plan.text, plan.vae, plan.expansion, plan.small


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        (NEW, (HALF, HALF, BRAIN, HALF, HALF)),
        (OLD, (HALF, HALF, SINGLE, HALF, HALF)),
        (ODD, (SINGLE, HALF, SINGLE, SINGLE, SINGLE)),
        (ANCIENT, (SINGLE, HALF, SINGLE, SINGLE, SINGLE)),
        (None, (SINGLE, SINGLE, SINGLE, SINGLE, SINGLE)),
    ],
    ids=["bf16", "fp16", "GTX-16xx", "before-7.0", "cpu"],
)
def test_formats_follow_the_device(gpu: Gpu | None, expected: tuple[torch.dtype, ...]) -> None:
    plan = plan_device(gpu, DeviceOptions())
    assert dtypes(plan) == expected
    assert plan.device.type == plan.vae_device.type == ("cpu" if gpu is None else "cuda")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (DeviceOptions(all_in_fp32=True), (SINGLE,) * 5),
        (DeviceOptions(all_in_fp16=True), (HALF,) * 5),
        (DeviceOptions(unet_in=Precision.BF16), (BRAIN, HALF, BRAIN, HALF, HALF)),
        (DeviceOptions(vae_in=Precision.FP32), (HALF, HALF, SINGLE, HALF, HALF)),
        (DeviceOptions(clip_in=Precision.FP32), (HALF, SINGLE, BRAIN, HALF, HALF)),
        (
            DeviceOptions(all_in_fp32=True, vae_in=Precision.FP16),
            (SINGLE, SINGLE, HALF, SINGLE, SINGLE),
        ),
        (DeviceOptions(vae_on_cpu=True), (HALF, HALF, SINGLE, HALF, HALF)),
    ],
    ids=["all-fp32", "all-fp16", "unet", "vae", "clip", "part-wins", "vae-on-cpu"],
)
def test_options_change_formats(options: DeviceOptions, expected: tuple[torch.dtype, ...]) -> None:
    assert dtypes(plan_device(NEW, options)) == expected


def test_the_vae_can_stay_on_the_cpu() -> None:
    plan = plan_device(NEW, DeviceOptions(vae_on_cpu=True))
    assert (plan.device.type, plan.vae_device.type) == ("cuda", "cpu")


@pytest.mark.parametrize(("given", "threads"), [(4, 4), (0, None), (-1, None)])
def test_always_cpu_ignores_the_gpu_and_may_set_threads(given: int, threads: int | None) -> None:
    plan = plan_device(NEW, DeviceOptions(always_cpu=given))
    assert plan.device.type == "cpu"
    assert dtypes(plan) == (SINGLE,) * 5
    assert plan.threads == threads


def test_threads_are_set_only_if_asked() -> None:
    before = torch.get_num_threads()
    use_threads(plan_device(None, DeviceOptions()))
    assert torch.get_num_threads() == before
    use_threads(plan_device(None, DeviceOptions(always_cpu=before)))
    assert torch.get_num_threads() == before


def test_running_out_of_memory_says_during_what() -> None:
    with (
        pytest.raises(DeviceMemoryError, match="while counting sheep"),
        memory_errors("counting sheep"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
