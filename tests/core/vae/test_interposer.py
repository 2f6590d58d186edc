from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fooocus_core.downloads import INTERPOSER
from fooocus_core.errors import ModelFileError
from fooocus_core.vae.interposer import Interposer, load_interposer
from tests.golden import NETWORK, assert_matches, load_arrays, load_json
from tests.networks import CPU_PLAN, sine_tensor


def test_a_converted_latent_equals_the_vector(weights: Path) -> None:
    recorded = load_arrays("components/refiner")
    network = load_interposer(weights / "vae_approx" / INTERPOSER.name, CPU_PLAN)

    latent = network.convert(torch.from_numpy(recorded["interposer_in"]))

    assert_matches(latent, recorded["interposer_out"], NETWORK)


def test_the_network_equals_the_check_values() -> None:
    checked = load_json("check-values-text-to-image")["interposer"]
    network = Interposer().eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() == 4:
                parameter.copy_(0.05 * sine_tensor(parameter.shape, 0.7))
            elif name.endswith("bias") and ".norm." not in name and name != "core.13.bias":
                parameter.copy_(0.02 * sine_tensor(parameter.shape, 0.7))

    latent = network.convert(sine_tensor((1, 4, 8, 8), 0.37))

    assert sum(parameter.numel() for parameter in network.parameters()) == checked["params"]
    assert latent[0, :, 3, 3].tolist() == pytest.approx(checked["y[0,:,3,3]"], rel=1e-6)
    assert latent[0, :, 0, 0].tolist() == pytest.approx(checked["y[0,:,0,0]"], rel=1e-6)


def test_entries_are_those_of_the_published_file() -> None:
    manifest = load_json("manifests/xl_to_v1_interposer")

    shapes = {name: list(tensor.shape) for name, tensor in Interposer().state_dict().items()}

    assert shapes == {name: shape for name, (_, shape) in manifest.items()}


def test_half_precision_weights_leave_the_dtype_of_the_latent(weights: Path) -> None:
    network = load_interposer(weights / "vae_approx" / INTERPOSER.name, CPU_PLAN).to(torch.bfloat16)

    latent = network.convert(torch.zeros(1, 4, 8, 8))

    assert latent.dtype == torch.float32
    assert latent.isfinite().all()


def test_a_file_of_another_network_is_an_error(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(8, 4, 7, 7)}, tmp_path / INTERPOSER.name)

    with pytest.raises(ModelFileError, match=INTERPOSER.name):
        load_interposer(tmp_path / INTERPOSER.name, CPU_PLAN)
