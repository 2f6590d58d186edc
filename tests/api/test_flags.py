"""Flags and their environment variables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fooocusapi.flag_values import FlagValues, Source, read_flags
from fooocusapi.flags import FLAGS, Effect

OWN = [
    "host",
    "listen",
    "port",
    "base-url",
    "log-level",
    "skip-pip",
    "sync-repo",
    "preload-pipeline",
    "queue-size",
    "queue-history",
    "webhook-url",
    "persistent",
    "apikey",
    "plain-base64",
    "allow-private-urls",
    "public-webhooks-only",
    "strict",
    "models-path",
    "styles-path",
    "max-body-size",
    "cancel-on-disconnect",
    "shutdown-grace",
    "step-timeout",
    "max-attempts",
    "retention-days",
    "retention-bytes",
    "webhook-secret",
    "api-keys-file",
    "rate-limit",
    "cors-allow-origins",
    "model-cache",
    "unload-after",
]
LEGACY = [
    "preset",
    "output-path",
    "temp-path",
    "cache-path",
    "disable-metadata",
    "disable-image-log",
    "gpu-device-id",
    "hf-mirror",
    "disable-preset-download",
    "always-download-new-model",
    "always-gpu",
    "always-high-vram",
    "always-normal-vram",
    "always-low-vram",
    "always-no-vram",
    "always-cpu",
    "always-offload-from-vram",
    "disable-offload-from-vram",
    "all-in-fp32",
    "all-in-fp16",
    "unet-in-bf16",
    "unet-in-fp16",
    "unet-in-fp8-e4m3fn",
    "unet-in-fp8-e5m2",
    "vae-in-fp16",
    "vae-in-fp32",
    "vae-in-bf16",
    "vae-in-cpu",
    "clip-in-fp8-e4m3fn",
    "clip-in-fp8-e5m2",
    "clip-in-fp16",
    "clip-in-fp32",
    "attention-split",
    "attention-quad",
    "attention-pytorch",
    "disable-attention-upcast",
    "disable-xformers",
    "pytorch-deterministic",
    "preview-option",
    "rebuild-hash-cache",
    "external-working-path",
    "share",
    "in-browser",
    "disable-in-browser",
    "theme",
    "language",
    "disable-preset-selection",
    "disable-analytics",
    "disable-enhance-output-sorting",
    "enable-auto-describe-image",
    "disable-header-check",
    "web-upload-size",
    "async-cuda-allocation",
    "disable-async-cuda-allocation",
    "directml",
    "disable-ipex-hijack",
    "disable-server-log",
    "debug-mode",
    "is-windows-embedded-python",
    "disable-server-info",
    "multi-user",
]
VALUES = {
    "webhook-url": "http://receiver.example/hook",
    "cors-allow-origins": "https://page.example",
    "webhook-secret": "whsec_" + 32 * "A",
}


def test_every_documented_flag_is_in_the_table_once() -> None:
    assert sorted(flag.name for flag in FLAGS) == sorted(OWN + LEGACY)


def given(values: FlagValues) -> list[str]:
    """Keys of the flags that the command line or the environment has set."""
    return [key for key, source in values.sources.items() if source is not Source.DEFAULT]


@pytest.mark.parametrize("dashes", [True, False], ids=["dashes", "underscores"])
def test_every_flag_is_accepted_in_either_spelling(dashes: bool) -> None:
    for flag in FLAGS:
        name = flag.name if dashes else flag.key
        text = []
        if flag.read is not None and flag.bare is None:
            text = [(flag.choices or (VALUES.get(flag.name, "1"),))[0]]
        values = read_flags([f"--{name}", *text], {})
        assert given(values) == [flag.key]


def test_client_starts_the_server_by_a_known_line() -> None:
    line = (
        "--sync-repo skip --skip-pip --disable-image-log --queue-history 1 "
        "--preview-option none --disable-in-browser"
    )
    values = read_flags(line.split(), {})
    assert (values["queue_history"], values["preview_option"]) == (1, "none")


def test_defaults() -> None:
    values = read_flags([], {})
    assert (values["port"], values["queue_size"], values["queue_history"]) == (8888, 100, 0)
    assert (values["preset"], values["apikey"], values["always_cpu"]) == (None, None, None)
    assert given(values) == []


@pytest.mark.parametrize(("text", "value"), [([], -1), (["4"], 4)])
def test_values_of_optional_arguments(text: list[str], value: int) -> None:
    assert read_flags(["--always-cpu", *text], {})["always_cpu"] == value


def test_a_list_is_given_at_once_or_piece_by_piece() -> None:
    once = ["--external-working-path", "a", "b"]
    again = ["--external_working_path", "a", "--external-working-path=b"]
    environ = {"FOOOCUSAPI_EXTERNAL_WORKING_PATH": os.pathsep.join("ab")}
    for arguments, variables in ((once, {}), (again, {}), ([], environ)):
        values = read_flags(arguments, variables)
        assert values["external_working_path"] == (Path("a"), Path("b"))
    assert read_flags([], {})["external_working_path"] == ()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-flag"],
        ["--webhook-url", "ftp://x"],
        ["--webhook-secret", "short"],
        ["--webhook-secret", "whsec_QUJD"],
        ["--webhook-secret", "whsec_" + 31 * "A" + "!"],
        ["--webhook-secret", ",".join(["whsec_" + 32 * "A"] * 3)],
        ["--por", "1"],
        ["--port", "x"],
        ["--apikey="],
        ["--apikey= key"],
        ["--apikey=schlüssel"],
        ["--apikey=two\nlines"],
        ["--port", "70000"],
        ["--queue-size", "0"],
        ["--queue-history", "-1"],
        ["--shutdown-grace", "nan"],
        ["--log-level", "loud"],
        ["--preview-option", "some"],
        ["--always-cpu", "--always-gpu"],
        ["--unet-in-fp16", "--unet-in-bf16"],
        ["--all-in-fp16", "--all-in-fp32"],
        ["--attention-split", "--attention-pytorch"],
        ["--async-cuda-allocation", "--disable-async-cuda-allocation"],
        ["positional"],
        ["--rate-limit", "-1"],
        ["--max-body-size", "0"],
        ["--cors-allow-origins", "page.example"],
        ["--cors-allow-origins", "https://page.example/path"],
        ["--cors-allow-origins", "https://page.example, null"],
        ["--apikey", ""],
        ["--apikey", " key"],
        ["--apikey", "schlüssel"],
        ["--apikey", "two\nlines"],
    ],
    ids=" ".join,
)
def test_b64_usage_errors_end_with_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        read_flags(arguments, {})
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_environment_sets_flags_and_the_command_line_wins() -> None:
    environ = {
        "FOOOCUSAPI_PORT": "9000",
        "FOOOCUSAPI_QUEUE_SIZE": "7",
        "FOOOCUSAPI_STRICT": "True",
        "FOOOCUSAPI_PLAIN_BASE64": "off",
        "FOOOCUSAPI_MODELS_PATH": "/weights",
        "FOOOCUSAPI_CORS_ALLOW_ORIGINS": "https://a, https://b",
    }
    values = read_flags(["--port", "9001"], environ)
    assert (values["port"], values["queue_size"]) == (9001, 7)
    assert (values["strict"], values["plain_base64"]) == (True, False)
    assert values["models_path"] == Path("/weights")
    assert values["cors_allow_origins"] == ("https://a", "https://b")


def test_group_of_the_command_line_wins_over_the_environment() -> None:
    values = read_flags(["--always-cpu"], {"FOOOCUSAPI_ALWAYS_GPU": "1"})
    assert (values["always_cpu"], values["always_gpu"]) == (-1, False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "x"),
        ("PORT", "70000"),
        ("STRICT", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("APIKEY", ""),
        ("APIKEY", "schlüssel"),
    ],
)
def test_b64_bad_environment_ends_with_status_2(
    name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        read_flags([], {f"FOOOCUSAPI_{name}": text})
    assert caught.value.code == 2
    assert f"FOOOCUSAPI_{name}" in capsys.readouterr().err


def test_help_marks_what_has_no_effect(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_flags(["--help"], {})
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--webhook-url" in text
    assert Effect.NONE.value in text
