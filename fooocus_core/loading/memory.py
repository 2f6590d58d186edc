"""Which device the networks run on, in which number formats, and running out of memory there.

Does not know which networks are loaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from fooocus_core.config import DeviceOptions, Precision
from fooocus_core.errors import DeviceMemoryError

_DTYPES = {
    Precision.FP32: torch.float32,
    Precision.FP16: torch.float16,
    Precision.BF16: torch.bfloat16,
}
# These cards compute wrong or very slowly in float16.
_WITHOUT_FP16 = ("GTX 16",)
_FP16_CAPABILITY = (7, 0)
_BF16_CAPABILITY = (8, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A CUDA device: its index, product name and compute capability."""

    index: int
    name: str
    capability: tuple[int, int]

    @property
    def computes_fp16(self) -> bool:
        """Whether networks run well in float16 on it."""
        is_excluded = any(part in self.name for part in _WITHOUT_FP16)
        return self.capability >= _FP16_CAPABILITY and not is_excluded

    @property
    def computes_bf16(self) -> bool:
        """Whether it has bfloat16 arithmetic."""
        return self.capability >= _BF16_CAPABILITY


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """Where each network runs and in which dtype; latents and everything between are float32.

    Attributes:
        text: Dtype the text encoders' weights are rounded to, embeddings excepted. They are held
            and computed in float32 whatever this is.
        small: Dtype of the preview network and the latent interposer.
        threads: Number of CPU threads to compute with; ``None`` leaves torch's choice.
    """

    device: torch.device
    vae_device: torch.device
    unet: torch.dtype
    text: torch.dtype
    vae: torch.dtype
    expansion: torch.dtype
    small: torch.dtype
    threads: int | None = None


def pick_device(options: DeviceOptions) -> DevicePlan:
    """Plan for the first CUDA device of this machine, or for its CPU if there is none."""
    return plan_device(find_gpu(), options)


def find_gpu() -> Gpu | None:
    """The first CUDA device, if there is one."""
    if not torch.cuda.is_available():
        return None
    return Gpu(
        index=0,
        name=torch.cuda.get_device_name(0),
        capability=torch.cuda.get_device_capability(0),
    )


def plan_device(gpu: Gpu | None, options: DeviceOptions) -> DevicePlan:
    """Number formats for a device; without a GPU everything is float32.

    Source: lllyasviel/Fooocus 2.5.5, the defaults of its device handling; on the CPU the text
    encoders keep float32 weights instead of rounding them to float16.
    """
    if options.always_cpu is not None:
        gpu = None
    device = torch.device("cpu") if gpu is None else torch.device("cuda", gpu.index)
    vae_device = torch.device("cpu") if options.vae_on_cpu else device
    half = torch.float16 if gpu is not None and gpu.computes_fp16 else torch.float32
    text = torch.float32 if gpu is None else torch.float16
    vae = _native_vae_dtype(gpu, vae_device)
    if options.all_in_fp16:
        half = text = vae = torch.float16
    if options.all_in_fp32:
        half = text = vae = torch.float32
    return DevicePlan(
        device=device,
        vae_device=vae_device,
        unet=_DTYPES[options.unet_in] if options.unet_in else half,
        text=_DTYPES[options.clip_in] if options.clip_in else text,
        vae=_DTYPES[options.vae_in] if options.vae_in else vae,
        expansion=half,
        small=half,
        threads=options.always_cpu if (options.always_cpu or 0) > 0 else None,
    )


def use_threads(plan: DevicePlan) -> None:
    """Set the number of threads torch computes with on the CPU, process-wide."""
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)


@contextlib.contextmanager
def memory_errors(during: str) -> Iterator[None]:
    """Turn running out of device memory into an error that says during what.

    Args:
        during: What is being done, as it continues "... while", e.g. "loading the base model".

    Raises:
        DeviceMemoryError: The device ran out of memory inside.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(f"The device ran out of memory while {during}.") from error


def free_cached_memory() -> None:
    """Hand memory that torch keeps for reuse back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _native_vae_dtype(gpu: Gpu | None, vae_device: torch.device) -> torch.dtype:
    if gpu is not None and vae_device.type == "cuda" and gpu.computes_bf16:
        return torch.bfloat16
    return torch.float32
