"""Which device the networks run on, in which number formats, and running out of memory there.

Does not know which networks are loaded.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import torch

from fooocus_core.config import AttentionKind, DeviceOptions, MemoryMode, Precision
from fooocus_core.errors import DeviceFailedError, DeviceMemoryError
from fooocus_core.main_memory import give_freed_memory_back

_DTYPES = {
    Precision.FP32: torch.float32,
    Precision.FP16: torch.float16,
    Precision.BF16: torch.bfloat16,
    Precision.FP8_E4M3FN: torch.float8_e4m3fn,
    Precision.FP8_E5M2: torch.float8_e5m2,
}
_STREAMED = (MemoryMode.LOW, MemoryMode.NO)
_STAYING = (MemoryMode.GPU, MemoryMode.HIGH)
_CPU = torch.device("cpu")
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


class Streaming(StrEnum):
    """In which portions a UNet's weights come to the device while it computes."""

    BLOCKS = "blocks"
    LAYERS = "layers"


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """Where each network runs and in which dtype; latents and everything between are float32.

    Attributes:
        unet, vae: Dtypes the weights of UNet and VAE are rounded to and kept in.
        unet_compute, vae_compute: Dtypes these compute in.
        text: Dtype the text encoders' weights are rounded to and kept in, embeddings excepted. They
            compute in float32 whatever this is.
        small: Dtype of the preview network, the latent interposer, and what reads image prompts
            and photographs.
        threads: Number of CPU threads to compute with; ``None`` leaves torch's choice.
        is_deterministic: Whether to use only operations that give the same bits every time.
        attention: How UNet and VAE compute attention.
        upcasts_attention: Whether chunked attention computes scores in float32 for half formats.
        stays: Whether networks stay on their device between uses, instead of in main memory.
        streaming: Portions in which a UNet's weights come from main memory; ``None`` = all at once.
    """

    device: torch.device
    vae_device: torch.device
    text_device: torch.device
    unet: torch.dtype
    unet_compute: torch.dtype
    text: torch.dtype
    vae: torch.dtype
    vae_compute: torch.dtype
    expansion: torch.dtype
    small: torch.dtype
    threads: int | None = None
    is_deterministic: bool = False
    attention: AttentionKind = AttentionKind.PYTORCH
    upcasts_attention: bool = True
    stays: bool = True
    streaming: Streaming | None = None

    def home_of(self, device: torch.device) -> torch.device:
        """Where the weights of a network that runs on ``device`` wait between uses."""
        return device if self.stays else _CPU

    @property
    def unet_home(self) -> torch.device:
        """Where a UNet's weights wait between uses."""
        return _CPU if self.streaming else self.home_of(self.device)


def pick_device(options: DeviceOptions) -> DevicePlan:
    """Plan for the first CUDA device of this machine, or for its CPU if there is none."""
    return plan_device(find_gpu(), options)


def leanest(plan: DevicePlan) -> DevicePlan:
    """The plan with which a device needs the least memory, without a change to any number."""
    if plan.device.type != "cuda":
        return plan
    return replace(plan, stays=False, streaming=Streaming.LAYERS)


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
    device = _CPU if gpu is None else torch.device("cuda", gpu.index)
    vae_device = _CPU if options.vae_on_cpu else device
    native = torch.float16 if gpu is not None and gpu.computes_fp16 else torch.float32
    half = native
    text = torch.float32 if gpu is None else torch.float16
    vae = _native_vae_dtype(gpu, vae_device)
    if options.all_in_fp16:
        half = text = vae = torch.float16
    if options.all_in_fp32:
        native = half = text = vae = torch.float32
    unet = _DTYPES[options.unet_in] if options.unet_in else half
    vae = _DTYPES[options.vae_in] if options.vae_in else vae
    vae_gpu = None if options.vae_on_cpu else gpu
    small = half if _computes(gpu, half) else native
    return DevicePlan(
        device=device,
        vae_device=vae_device,
        text_device=_CPU if options.memory in _STREAMED else device,
        unet=unet,
        unet_compute=unet if _computes(gpu, unet) else native,
        text=_DTYPES[options.clip_in] if options.clip_in else text,
        vae=vae,
        vae_compute=vae if _computes(vae_gpu, vae) else torch.float32,
        expansion=small,
        small=small,
        threads=options.always_cpu if (options.always_cpu or 0) > 0 else None,
        is_deterministic=options.is_deterministic,
        attention=options.attention,
        upcasts_attention=options.upcasts_attention,
        stays=gpu is None or _stays(options),
        streaming=None if gpu is None else _streaming(options.memory),
    )


def set_up_torch(plan: DevicePlan) -> None:
    """Give torch, process-wide, the number of CPU threads and the determinism of a plan.

    To be called before the GPU computes anything. An operation that cannot be deterministic leaves
    a warning and runs.
    """
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    if plan.is_deterministic:
        # Without it the matrix library of CUDA picks algorithms whose results vary.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


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


@contextlib.contextmanager
def device_failures() -> Iterator[None]:
    """Turn what the driver reports into an error that says that this process is lost.

    Whatever it reports but a lack of memory stays: every later call fails with it, too.

    Raises:
        DeviceFailedError: The driver reported a failure inside.
    """
    try:
        yield
    except torch.AcceleratorError as error:
        reason = str(error).partition("\n")[0]
        raise DeviceFailedError(f"The device has failed: {reason}.") from error


def free_bytes(device: torch.device) -> int:
    """Memory of a device that torch could take now; 0 for the CPU, whose memory is not watched."""
    if device.type != "cuda":
        return 0
    unused_by_torch = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused_by_torch


def free_cached_memory() -> None:
    """Hand memory that is kept for reuse back to the device, and to the system."""
    give_freed_memory_back()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _native_vae_dtype(gpu: Gpu | None, vae_device: torch.device) -> torch.dtype:
    if gpu is not None and vae_device.type == "cuda" and gpu.computes_bf16:
        return torch.bfloat16
    return torch.float32


def _computes(gpu: Gpu | None, dtype: torch.dtype) -> bool:
    """Whether networks run well in ``dtype``; none do in a format of 8 bits."""
    match dtype:
        case torch.float32:
            return True
        case torch.float16:
            return gpu is not None and gpu.computes_fp16
        case torch.bfloat16:
            return gpu is not None and gpu.computes_bf16
    return False


def _stays(options: DeviceOptions) -> bool:
    if options.offloads is not None:
        return not options.offloads
    return options.memory in _STAYING


def _streaming(mode: MemoryMode) -> Streaming | None:
    match mode:
        case MemoryMode.LOW:
            return Streaming.BLOCKS
        case MemoryMode.NO:
            return Streaming.LAYERS
    return None
