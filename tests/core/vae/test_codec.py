"""Encoding and decoding against the recorded arrays."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image

from fooocus_core.config import DeviceOptions
from fooocus_core.errors import DeviceMemoryError, FooocusError
from fooocus_core.loading.memory import plan_device
from fooocus_core.vae.codec import decode, draw_posterior, encode, to_image, to_pixels
from tests.golden import GOLDEN, NETWORK, assert_matches, load_arrays, random_array
from tests.networks import load_checkpoint, load_vae

CPU = plan_device(None, DeviceOptions())
RECORDED = load_arrays("components/vae")


@pytest.fixture(scope="module")
def vae(weights: Path) -> AutoencoderKL:
    return load_checkpoint(weights / "checkpoints" / "tiny_sdxl.safetensors", CPU).vae


@pytest.fixture(scope="module")
def other_vae(weights: Path) -> AutoencoderKL:
    return load_vae(weights / "vae" / "tiny_vae_b.safetensors", CPU)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    with Image.open(GOLDEN / "inputs" / "photo_c.png") as picture:
        return to_pixels(np.asarray(picture.convert("RGB")))


@pytest.fixture(scope="module")
def big_latent() -> torch.Tensor:
    return torch.from_numpy(random_array(17, (1, 4, 72, 88)) * 6)


def assert_same_picture(actual: np.ndarray, expected: np.ndarray) -> None:
    difference = np.abs(actual.astype(int) - expected.astype(int))
    assert difference.max() <= 2
    assert difference.mean() <= 0.1


def test_a_decoded_picture_is_the_recorded_one(vae: AutoencoderKL) -> None:
    picture = decode(vae, torch.from_numpy(RECORDED["lat"]), warn=pytest.fail)
    assert picture.dtype == np.uint8
    assert_same_picture(picture, RECORDED["dec_u8"])


def test_the_values_behind_a_decoded_picture_are_the_recorded_ones(vae: AutoencoderKL) -> None:
    with torch.no_grad():
        values = (vae.decode(torch.from_numpy(RECORDED["lat"])).sample + 1) / 2
    picture = values.clamp(0, 1).permute(0, 2, 3, 1).numpy()
    # Recorded in float16, which rounds values below 1 by up to 2^-12.
    np.testing.assert_allclose(picture, RECORDED["dec"].astype(np.float32), rtol=0, atol=2.6e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tiled"), [("dec2_u8", False), ("dec2_tiled_u8", True)])
def test_a_big_latent_decodes_whole_and_in_tiles(
    vae: AutoencoderKL, big_latent: torch.Tensor, name: str, tiled: bool
) -> None:
    assert_same_picture(decode(vae, big_latent, warn=pytest.fail, tiled=tiled), RECORDED[name])


def test_an_encoded_picture_is_the_recorded_latent(
    vae: AutoencoderKL, generator: torch.Generator
) -> None:
    latent = encode(vae, to_pixels(RECORDED["img"]), generator=generator, warn=pytest.fail)
    assert latent.dtype is torch.float32
    assert_matches(latent, RECORDED["enc"], NETWORK)


@pytest.mark.parametrize(
    ("name", "tiled"),
    [("enc_c", False), pytest.param("enc_c_tiled", True, marks=pytest.mark.slow)],
)
def test_a_big_picture_encodes_whole_and_in_tiles(
    vae: AutoencoderKL,
    generator: torch.Generator,
    photo: torch.Tensor,
    name: str,
    tiled: bool,
) -> None:
    latent = encode(vae, photo, generator=generator, warn=pytest.fail, tiled=tiled)
    assert_matches(latent, RECORDED[name], NETWORK)


def test_a_stand_alone_vae_gives_its_own_results(
    other_vae: AutoencoderKL, generator: torch.Generator
) -> None:
    latent = encode(other_vae, to_pixels(RECORDED["img"]), generator=generator, warn=pytest.fail)
    picture = decode(other_vae, torch.from_numpy(RECORDED["lat"]), warn=pytest.fail)
    assert_matches(latent, RECORDED["enc_vae_b"], NETWORK)
    assert_same_picture(picture, RECORDED["dec_vae_b_u8"])


def test_the_posterior_is_drawn_from_the_given_generator() -> None:
    recorded = load_arrays("image-ops/vae_posterior")
    moments = torch.from_numpy(recorded["moments"])
    generator = torch.Generator().manual_seed(int(recorded["torch_seed"]))
    for name in ("sample_first", "sample_second"):
        sample = draw_posterior(moments[:, :4], moments[:, 4:], generator)
        assert_matches(sample, recorded[name], 1e-6)


def test_odd_sides_are_cropped_in_the_middle(
    vae: AutoencoderKL, generator: torch.Generator
) -> None:
    picture = np.zeros((70, 77, 3), np.uint8)
    picture[3:67, 2:74] = 255
    whole = encode(vae, to_pixels(picture), generator=generator, warn=pytest.fail)
    inner = encode(vae, to_pixels(picture[3:67, 2:74]), generator=generator, warn=pytest.fail)
    assert whole.shape == (1, 4, 8, 9)
    assert torch.allclose(whole, inner, atol=1e-4)
    uncropped = encode(vae, to_pixels(picture), generator=generator, warn=pytest.fail, crop=False)
    assert uncropped.shape == whole.shape
    assert not torch.allclose(uncropped, inner, atol=1e-2)


@pytest.mark.parametrize(
    ("value", "byte"), [(0.0, 0), (0.999, 254), (1.0, 255), (1.5, 255), (-1.0, 0)]
)
def test_bytes_are_truncated_and_clipped(value: float, byte: int) -> None:
    assert to_image(torch.full((1, 3, 1, 1), value)).tolist() == [[[byte] * 3]]


class Full:
    """A VAE whose device runs out of memory the first few times."""

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, vae: AutoencoderKL, failures: int) -> None:
        self._vae = vae
        self._failures = failures

    def decode(self, latent: torch.Tensor) -> object:
        self._failures -= 1
        if self._failures >= 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._vae.decode(latent)


def test_f02_too_little_memory_falls_back_to_tiles(vae: AutoencoderKL) -> None:
    latent = torch.from_numpy(random_array(3, (1, 4, 6, 20)))
    full = Full(vae, failures=1)
    picture = decode(full, latent, warn=pytest.fail)  # type: ignore[arg-type]
    assert np.array_equal(picture, decode(vae, latent, warn=pytest.fail, tiled=True))


def test_too_little_memory_for_a_tile_is_an_error(vae: AutoencoderKL) -> None:
    with pytest.raises(DeviceMemoryError, match="in tiles"):
        decode(Full(vae, failures=2), torch.zeros(1, 4, 8, 8), warn=pytest.fail)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_latent_that_is_not_finite_is_an_error(vae: AutoencoderKL, value: float) -> None:
    latent = torch.zeros(1, 4, 8, 8)
    latent[0, 1, 2, 3] = value
    with pytest.raises(FooocusError, match="Sampling gave values that are not finite"):
        decode(vae, latent, warn=pytest.fail)


@pytest.fixture
def narrow_vae(vae: AutoencoderKL) -> AutoencoderKL:
    """In bfloat16, and beyond its range in the middle unless its weights are float32."""
    narrow = copy.deepcopy(vae).to(torch.bfloat16)

    def overflow(layer: torch.nn.Module, _: object, output: torch.Tensor) -> torch.Tensor:
        is_narrow = layer.weight.dtype is torch.bfloat16
        return output * float("inf") if is_narrow else output

    narrow.decoder.conv_out.register_forward_hook(overflow)
    return narrow


@pytest.mark.parametrize("tiled", [False, True])
def test_f07_a_picture_beyond_the_precision_is_decoded_in_float32(
    narrow_vae: AutoencoderKL, tiled: bool
) -> None:
    before = {name: tensor.clone() for name, tensor in narrow_vae.state_dict().items()}
    warnings: list[str] = []
    latent = torch.from_numpy(random_array(3, (1, 4, 8, 8)))
    picture = decode(narrow_vae, latent, warn=warnings.append, tiled=tiled)
    wide = copy.deepcopy(narrow_vae).to(torch.float32)
    assert np.array_equal(picture, decode(wide, latent, warn=pytest.fail, tiled=tiled))
    assert ["float32" in text for text in warnings] == [True]
    after = narrow_vae.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_picture_that_float32_cannot_hold_either_is_an_error(vae: AutoencoderKL) -> None:
    broken = copy.deepcopy(vae)
    with torch.no_grad():
        broken.decoder.conv_out.bias.fill_(float("inf"))
    with pytest.raises(FooocusError, match="The VAE gave values that are not finite"):
        decode(broken, torch.zeros(1, 4, 8, 8), warn=pytest.fail)


@pytest.fixture
def narrow_encoder(vae: AutoencoderKL) -> AutoencoderKL:
    """In bfloat16, and beyond its range at the end unless its weights are float32."""
    narrow = copy.deepcopy(vae).to(torch.bfloat16)

    def overflow(layer: torch.nn.Module, _: object, output: torch.Tensor) -> torch.Tensor:
        is_narrow = layer.weight.dtype is torch.bfloat16
        return output * float("inf") if is_narrow else output

    narrow.quant_conv.register_forward_hook(overflow)
    return narrow


@pytest.mark.parametrize("tiled", [False, True])
def test_a_picture_beyond_the_precision_is_encoded_in_float32_with_the_same_noise(
    narrow_encoder: AutoencoderKL, tiled: bool
) -> None:
    warnings: list[str] = []
    pixels = to_pixels(RECORDED["img"][:64, :72])
    latent = encode(
        narrow_encoder,
        pixels,
        generator=torch.Generator().manual_seed(3),
        warn=warnings.append,
        tiled=tiled,
    )
    wide = copy.deepcopy(narrow_encoder).to(torch.float32)
    generator = torch.Generator().manual_seed(3)
    expected = encode(wide, pixels, generator=generator, warn=pytest.fail, tiled=tiled)
    assert torch.equal(latent, expected)
    assert ["float32" in text for text in warnings] == [True]
    assert narrow_encoder.dtype is torch.bfloat16


def test_a_picture_that_float32_cannot_encode_either_is_an_error(
    vae: AutoencoderKL, generator: torch.Generator
) -> None:
    broken = copy.deepcopy(vae)
    with torch.no_grad():
        broken.quant_conv.bias.fill_(float("nan"))
    with pytest.raises(FooocusError, match="not finite for the given picture"):
        encode(broken, to_pixels(RECORDED["img"]), generator=generator, warn=pytest.fail)


class Stopped(Exception):
    pass


def stop_after(calls: int) -> Callable[[], None]:
    """A check that raises when called once more than ``calls`` times."""
    left = iter(range(calls))

    def check() -> None:
        if next(left, None) is None:
            raise Stopped

    return check


def test_a_stop_is_seen_between_tiles(vae: AutoencoderKL, generator: torch.Generator) -> None:
    pixels, latent = torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 1, 1)
    with pytest.raises(Stopped):
        encode(vae, pixels, generator=generator, warn=pytest.fail, check=stop_after(2), tiled=True)
    with pytest.raises(Stopped):
        decode(vae, latent, warn=pytest.fail, check=stop_after(2), tiled=True)
    decode(vae, latent, warn=pytest.fail, check=stop_after(3), tiled=True)
