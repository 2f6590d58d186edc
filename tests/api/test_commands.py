"""The sub-commands and the help of the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fooocus_core.config import load_config
from fooocusapi.cli import main, make_settings
from fooocusapi.commands import config_lines
from fooocusapi.flag_values import read_flags
from fooocusapi.flags import FLAGS, SECTIONS, Effect


def shown(root: Path, arguments: list[str], environ: dict[str, str]) -> dict[str, str]:
    """What is shown, as name -> the rest of the line."""
    flags = read_flags(arguments, environ)
    core = load_config(root=root, environ=environ)
    lines = config_lines(flags, core, make_settings(flags, core, port=flags["port"]))
    return dict(line.split(" = ", 1) for line in lines if " = " in line)


def test_every_value_is_shown_with_its_source(tmp_path: Path) -> None:
    (tmp_path / "config.txt").write_text(
        '{"default_sampler": "euler", "default_loras": [["a.safetensors", 0.5]]}'
    )
    environ = {"FOOOCUSAPI_QUEUE_SIZE": "7", "default_cfg_scale": "5.5", "path_loras": "['a', 'b']"}
    lines = shown(tmp_path, ["--port", "99", "--listen"], environ)
    assert lines["--port"] == "99  (command line)"
    assert lines["--host"] == "0.0.0.0  (command line)"
    assert lines["--base-url"] == "http://127.0.0.1:99  (default)"
    assert lines["--queue-size"] == "7  (environment)"
    assert lines["--strict"] == "false  (default)"
    assert lines["default_sampler"] == "euler  (config.txt)"
    assert lines["default_loras"] == "a.safetensors : 0.5  (config.txt)"
    assert lines["default_cfg_scale"] == "5.5  (environment)"
    assert lines["default_scheduler"] == "karras  (preset default)"
    assert lines["default_aspect_ratio"] == "1152*896  (preset default)"
    assert lines["default_refiner"] == "none  (preset default)"
    assert lines["default_black_out_nsfw"] == "false  (built-in)"
    assert lines["path_loras"] == f"{tmp_path / 'a'}, {tmp_path / 'b'}  (environment)"
    assert lines["path_outputs"] == f"{tmp_path / 'outputs'}  (built-in)"


def test_no_flag_with_an_effect_and_no_key_is_missing(tmp_path: Path) -> None:
    lines = shown(tmp_path, [], {})
    effective = {f"--{flag.name}" for flag in FLAGS if flag.effect is Effect.EFFECTIVE}
    others = {"FOOOCUS_DB_CONF"}
    assert set(lines) == effective | others | set(load_config(root=tmp_path, environ={}).sources)


def test_secrets_are_masked(tmp_path: Path) -> None:
    arguments = [
        "--apikey",
        "hush",
        "--webhook-url",
        "https://user:hush@host.example:8/hush?t=hush",
    ]
    lines = shown(tmp_path, arguments, {})
    assert lines["--apikey"] == "********  (command line)"
    assert lines["--webhook-url"] == "https://host.example:8/********  (command line)"
    assert "hush" not in str(lines)


def test_the_command_prints_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    main(["config", "--preset", "tiny", "--webhook_url=http://a.example/b_c"])
    printed = capsys.readouterr().out
    assert "[configuration, preset tiny]\n" in printed
    assert "default_model = tiny.safetensors  (preset tiny)\n" in printed


def test_the_command_names_what_is_not_usable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("default_cfg_scale", "99")
    main(["config"])
    printed = capsys.readouterr()
    assert printed.err.startswith("warning: default_cfg_scale in environment")
    assert re.search(r"^default_cfg_scale = .*\(built-in\)$", printed.out, re.MULTILINE)


def test_the_mirror_of_the_environment_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    main(["config"])
    assert "--hf-mirror = https://mirror.example  (environment)\n" in capsys.readouterr().out
    main(["config", "--hf-mirror", "other.example"])
    assert "--hf-mirror = https://other.example  (command line)\n" in capsys.readouterr().out


def test_an_unknown_preset_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["config", "--preset", "none of these"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_help_lists_every_flag_once_in_its_section(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    listed = re.findall(r"^  --([a-z0-9-]+)", printed, re.MULTILINE)
    assert listed == [flag.name for flag in FLAGS]
    titles = re.findall(r"^(\S.*):$", printed, re.MULTILINE)
    assert [title for title in titles if title != "options"] == list(SECTIONS)
