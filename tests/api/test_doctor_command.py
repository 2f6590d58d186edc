"""``python main.py doctor``: what is found, and whether the server could serve."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fooocus_core.config import CoreConfig, FetchRules
from fooocus_core.downloads import UPSCALER
from fooocus_core.params import Lora
from fooocusapi.cli import main
from fooocusapi.doctor_command import Section, can_serve, examine, report_lines

Look = Callable[..., list[Section]]
BASE = "juggernautXL_v8Rundiffusion.safetensors"


def device() -> list[str]:
    return ["a device"]


def look(core: CoreConfig, port_trouble: str | None = None, **rules: Any) -> list[Section]:
    changed = replace(core, fetching=FetchRules(**rules))
    return list(examine(changed, device, port_trouble))


def lines_of(sections: list[Section], title: str) -> list[str]:
    (section,) = [section for section in sections if section.title.startswith(title)]
    return [finding.text for finding in section.findings]


def test_a_host_with_the_models_can_serve_without_a_network(core: CoreConfig) -> None:
    sections = look(core)
    assert can_serve(sections)
    assert lines_of(sections, "models of preset default") == [
        f"checkpoints/{BASE} is there",
        "loras/sd_xl_offset_example-lora_1.0.safetensors is there",
    ]
    assert list(report_lines(sections))[-1] == "can serve"
    assert not any("PROBLEM" in line for line in report_lines(sections))


def test_without_the_base_model_it_cannot_unless_that_can_be_fetched(core: CoreConfig) -> None:
    (core.folders.checkpoints[0] / BASE).unlink()
    sections = look(core)
    assert not can_serve(sections)
    report = list(report_lines(sections))
    assert report[-1].startswith("cannot serve")
    (problem,) = [line for line in report if line.startswith("PROBLEM")]
    assert BASE in problem
    assert str(core.folders.checkpoints[0]) in problem
    fetched = look(core, is_allowed=True)
    assert can_serve(fetched)
    assert f"checkpoints/{BASE} (7.1 GB) will be fetched at the start" in lines_of(
        fetched, "models"
    )
    assert not can_serve(look(core, is_allowed=True, skips_presets=True))


@pytest.mark.parametrize(
    ("defaults", "serves"),
    [
        ({"loras": (Lora(name="gone.safetensors", weight=1.0),)}, True),
        ({"refiner": "gone.safetensors"}, False),
        ({"vae": "gone.safetensors"}, False),
    ],
    ids=["lora", "refiner", "vae"],
)
def test_what_requests_are_refused_without_is_a_problem(
    core: CoreConfig, defaults: dict[str, Any], serves: bool
) -> None:
    changed = replace(core, defaults=replace(core.defaults, **defaults))
    sections = look(changed, is_allowed=True)
    assert can_serve(sections) is serves
    assert any("gone.safetensors" in line for line in lines_of(sections, "models"))


def test_each_feature_is_complete_or_can_be_fetched_or_is_not_possible(core: CoreConfig) -> None:
    (core.folders.upscale_models[0]).mkdir(parents=True)
    (core.folders.upscale_models[0] / UPSCALER.name).touch()
    features = lines_of(look(core, is_allowed=True), "files per feature")
    assert "upscaling: complete" in features
    text = "performance Lightning: will be fetched when first needed: "
    assert f"{text}loras/sdxl_lightning_4step_lora.safetensors (394 MB)" in features
    (expansion,) = [line for line in features if line.startswith("prompt expansion")]
    assert "not possible without vocab.json in" in expansion
    offline = lines_of(look(core), "files per feature")
    assert any(line.startswith("inpaint engine v2.6: not possible without") for line in offline)


def test_a_device_that_does_not_start_is_a_problem(core: CoreConfig) -> None:
    def broken() -> list[str]:
        raise RuntimeError("no driver")

    sections = list(examine(core, broken, None))
    assert not can_serve(sections)
    assert lines_of(sections, "device") == ["the pipeline does not start: no driver"]


def test_a_port_that_is_taken_is_a_problem(core: CoreConfig) -> None:
    assert not can_serve(look(core, port_trouble="cannot listen on 127.0.0.1:8888"))


def test_a_folder_of_results_that_cannot_be_made_is_a_problem(
    core: CoreConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    folders = replace(core.folders, outputs=tmp_path / "file" / "outputs")
    sections = look(replace(core, folders=folders))
    assert not can_serve(sections)
    assert f"outputs: {tmp_path / 'file' / 'outputs'} cannot be written" in lines_of(
        sections, "folders"
    )


def test_what_is_still_to_be_fetched_is_told_beside_the_free_space(core: CoreConfig) -> None:
    (core.folders.checkpoints[0] / BASE).unlink()
    space = lines_of(look(core, is_allowed=True), "free space")
    assert any(line.endswith("files of 7.1 GB are fetched at the start") for line in space)
    space = lines_of(look(core), "free space")
    assert any(line.endswith("files of 0 B are fetched at the start") for line in space)


def test_the_command_prints_the_report_and_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--output-path", str(tmp_path / "out"), "--temp-path", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--preset", "tiny", "--port", "0", "--always-cpu", *places])
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert "cpu (no GPU is used)" in printed
    assert "checkpoints/tiny.safetensors is there" in printed
    assert printed.endswith("can serve\n")
    assert not (tmp_path / "out").exists()


def test_the_command_ends_with_status_1_where_the_port_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--output-path", str(tmp_path / "out"), "--temp-path", str(tmp_path)]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit) as ended:
            main(["doctor", "--preset", "tiny", "--port", port, "--always-cpu", *places])
    assert ended.value.code == 1
    assert f"PROBLEM: cannot listen on 127.0.0.1:{port}" in capsys.readouterr().out
