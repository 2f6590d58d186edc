"""Devices get the number formats of the table, and options change them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from fooocus_core.config import DeviceOptions, MemoryMode, Precision
from fooocus_core.errors import DeviceMemoryError
from fooocus_core.loading.memory import (
    DevicePlan,
    Gpu,
    Streaming,
    leanest,
    memory_errors,
    plan_device,
    set_up_torch,
)

NEW = Gpu(index=0, name="NVIDIA H100", capability=(9, 0))
OLD = Gpu(index=0, name="NVIDIA T4", capability=(7, 5))
ODD = Gpu(index=0, name="NVIDIA GeForce GTX 1660", capability=(7, 5))
ANCIENT = Gpu(index=0, name="NVIDIA GeForce GTX 1080", capability=(6, 1))
HALF, SINGLE, BRAIN = torch.float16, torch.float32, torch.bfloat16
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


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


def test_a_gpu_needs_the_least_memory_with_weights_that_come_layer_by_layer() -> None:
    plan = plan_device(NEW, DeviceOptions(memory=MemoryMode.HIGH))
    assert leanest(plan) == replace(plan, stays=False, streaming=Streaming.LAYERS)


def test_there_is_no_leaner_plan_for_a_cpu() -> None:
    plan = plan_device(None, DeviceOptions())
    assert leanest(plan) == plan


@pytest.mark.parametrize(("given", "threads"), [(4, 4), (0, None), (-1, None)])
def test_always_cpu_ignores_the_gpu_and_may_set_threads(given: int, threads: int | None) -> None:
    plan = plan_device(NEW, DeviceOptions(always_cpu=given))
    assert plan.device.type == "cpu"
    assert dtypes(plan) == (SINGLE,) * 5
    assert plan.threads == threads


@pytest.fixture
def torch_settings() -> Iterator[None]:
    """What the test changes of torch is put back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("torch_settings")
def test_torch_is_left_as_it_is_unless_asked() -> None:
    before = torch.get_num_threads()
    set_up_torch(plan_device(None, DeviceOptions()))
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.usefixtures("torch_settings")
def test_torch_gets_the_threads_of_the_plan() -> None:
    other = torch.get_num_threads() + 1
    set_up_torch(plan_device(None, DeviceOptions(always_cpu=other)))
    assert torch.get_num_threads() == other


@pytest.mark.usefixtures("torch_settings")
def test_torch_is_made_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    set_up_torch(plan_device(None, DeviceOptions(is_deterministic=True)))
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.parametrize(
    ("gpu", "options", "kept", "computed"),
    [
        (NEW, DeviceOptions(), HALF, HALF),
        (NEW, DeviceOptions(unet_in=Precision.BF16), BRAIN, BRAIN),
        (OLD, DeviceOptions(unet_in=Precision.BF16), BRAIN, HALF),
        (ANCIENT, DeviceOptions(unet_in=Precision.FP16), HALF, SINGLE),
        (None, DeviceOptions(unet_in=Precision.FP16), HALF, SINGLE),
        (None, DeviceOptions(all_in_fp16=True), HALF, SINGLE),
        (NEW, DeviceOptions(unet_in=Precision.FP8_E4M3FN), E4M3, HALF),
        (ODD, DeviceOptions(unet_in=Precision.FP8_E4M3FN), E4M3, SINGLE),
        (None, DeviceOptions(unet_in=Precision.FP8_E5M2), E5M2, SINGLE),
        (NEW, DeviceOptions(unet_in=Precision.FP8_E5M2, all_in_fp32=True), E5M2, SINGLE),
        (NEW, DeviceOptions(unet_in=Precision.FP8_E5M2, all_in_fp16=True), E5M2, HALF),
    ],
)
def test_a_unet_computes_in_what_the_device_can(
    gpu: Gpu | None, options: DeviceOptions, kept: torch.dtype, computed: torch.dtype
) -> None:
    plan = plan_device(gpu, options)
    assert (plan.unet, plan.unet_compute) == (kept, computed)


@pytest.mark.parametrize(
    ("gpu", "options", "kept", "computed"),
    [
        (NEW, DeviceOptions(), BRAIN, BRAIN),
        (OLD, DeviceOptions(vae_in=Precision.FP16), HALF, HALF),
        (OLD, DeviceOptions(vae_in=Precision.BF16), BRAIN, SINGLE),
        (NEW, DeviceOptions(vae_in=Precision.BF16, vae_on_cpu=True), BRAIN, SINGLE),
        (None, DeviceOptions(all_in_fp16=True), HALF, SINGLE),
    ],
)
def test_a_vae_computes_in_what_its_device_can(
    gpu: Gpu | None, options: DeviceOptions, kept: torch.dtype, computed: torch.dtype
) -> None:
    plan = plan_device(gpu, options)
    assert (plan.vae, plan.vae_compute) == (kept, computed)


def test_small_networks_keep_to_what_the_device_can_compute_in() -> None:
    plan = plan_device(None, DeviceOptions(all_in_fp16=True))
    assert (plan.expansion, plan.small) == (SINGLE, SINGLE)


@pytest.mark.parametrize(
    ("precision", "kept"),
    [(Precision.FP8_E4M3FN, E4M3), (Precision.FP8_E5M2, E5M2), (Precision.FP16, HALF)],
)
@pytest.mark.parametrize("gpu", [NEW, None], ids=["gpu", "cpu"])
def test_text_encoders_can_be_kept_in_fewer_bits(
    gpu: Gpu | None, precision: Precision, kept: torch.dtype
) -> None:
    assert plan_device(gpu, DeviceOptions(clip_in=precision)).text == kept


@pytest.mark.parametrize(
    ("options", "stays", "streaming", "unet_home", "text"),
    [
        (DeviceOptions(), False, None, "cpu", "cuda"),
        (DeviceOptions(memory=MemoryMode.GPU), True, None, "cuda", "cuda"),
        (DeviceOptions(memory=MemoryMode.HIGH), True, None, "cuda", "cuda"),
        (DeviceOptions(memory=MemoryMode.LOW), False, Streaming.BLOCKS, "cpu", "cpu"),
        (DeviceOptions(memory=MemoryMode.NO), False, Streaming.LAYERS, "cpu", "cpu"),
        (DeviceOptions(offloads=False), True, None, "cuda", "cuda"),
        (DeviceOptions(memory=MemoryMode.GPU, offloads=True), False, None, "cpu", "cuda"),
        (
            DeviceOptions(memory=MemoryMode.LOW, offloads=False),
            True,
            Streaming.BLOCKS,
            "cpu",
            "cpu",
        ),
    ],
    ids=["normal", "gpu", "high", "low", "no", "no-offload", "gpu-offload", "low-no-offload"],
)
def test_memory_modes_say_where_weights_wait(
    options: DeviceOptions, stays: bool, streaming: Streaming | None, unet_home: str, text: str
) -> None:
    plan = plan_device(NEW, options)
    assert (plan.stays, plan.streaming) == (stays, streaming)
    assert (plan.unet_home.type, plan.text_device.type) == (unet_home, text)
    assert plan.home_of(plan.vae_device).type == ("cuda" if stays else "cpu")


@pytest.mark.parametrize("mode", MemoryMode)
def test_memory_modes_mean_nothing_to_a_cpu(mode: MemoryMode) -> None:
    assert plan_device(None, DeviceOptions(memory=mode)) == plan_device(None, DeviceOptions())


def test_a_vae_on_the_cpu_waits_there_in_every_mode() -> None:
    plan = plan_device(NEW, DeviceOptions(vae_on_cpu=True, memory=MemoryMode.GPU))
    assert plan.home_of(plan.vae_device).type == "cpu"


def test_running_out_of_memory_says_during_what() -> None:
    with (
        pytest.raises(DeviceMemoryError, match="while counting sheep"),
        memory_errors("counting sheep"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
