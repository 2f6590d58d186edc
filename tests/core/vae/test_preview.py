"""Previews against the recorded picture and check values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fooocus_core.config import DeviceOptions
from fooocus_core.downloads import SD15_PREVIEW, SDXL_PREVIEW
from fooocus_core.errors import ModelFileError
from fooocus_core.loading.memory import plan_device
from fooocus_core.vae.preview import PreviewNetwork, load_preview
from tests.golden import load_arrays, load_json

PLAN = plan_device(None, DeviceOptions())
CHECK = load_json("check-values-text-to-image")["vae_approx"]


def wave(shape: tuple[int, ...], k: float) -> torch.Tensor:
    """The check recipes' ``det``."""
    count = torch.Size(shape).numel()
    return torch.sin(k * torch.arange(count, dtype=torch.float32)).reshape(shape)


def test_a_preview_is_the_recorded_picture(weights: Path) -> None:
    network = load_preview(weights / "vae_approx" / SDXL_PREVIEW.name, PLAN)
    recorded = load_arrays("components/preview")
    assert (network.picture(torch.from_numpy(recorded["x0"])) == recorded["out"]).all()


def test_the_network_gives_the_check_values() -> None:
    network = PreviewNetwork()
    state = {
        name: wave(tuple(tensor.shape), 0.7) * (0.05 if name.endswith("weight") else 0.02)
        for name, tensor in network.state_dict().items()
    }
    assert list(state) == CHECK["state_keys"]
    assert sum(tensor.numel() for tensor in state.values()) == CHECK["params"]
    network.load_state_dict(state)
    latent = wave((1, 4, 8, 8), 0.37)

    with torch.no_grad():
        output = network(latent)

    assert list(output.shape) == CHECK["out_shape"]
    assert output[0, :, 5, 5].tolist() == pytest.approx(CHECK["y[0,:,5,5]"], abs=1e-5)
    assert output[0, :, 0, 0].tolist() == pytest.approx(CHECK["y[0,:,0,0]"], abs=1e-5)
    assert network.picture(latent)[5, 5].tolist() == CHECK["pixel(5,5)"]


def test_the_published_file_fits() -> None:
    shapes = {name: shape for name, (_, shape) in load_json("manifests/vae_approx_xl").items()}
    assert {k: list(t.shape) for k, t in PreviewNetwork().state_dict().items()} == shapes


def test_another_network_has_its_own_file(weights: Path) -> None:
    load_preview(weights / "vae_approx" / SD15_PREVIEW.name, PLAN)


def test_a_file_of_another_network_is_an_error(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "xlvaeapp.pth")
    with pytest.raises(ModelFileError, match=r"xlvaeapp\.pth"):
        load_preview(tmp_path / "xlvaeapp.pth", PLAN)


def test_values_that_are_not_finite_are_shown_black() -> None:
    picture = PreviewNetwork().picture(torch.full((1, 4, 8, 8), float("nan")))
    assert not picture.any()
