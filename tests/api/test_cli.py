"""The server as a process, with the fake engine."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from fooocus_core.config import AttentionKind, CoreConfig, DeviceOptions, MemoryMode, Precision
from fooocusapi.cli import (
    PROJECT_ROOT,
    device_options,
    main,
    make_settings,
    read_core,
    show_config,
)
from fooocusapi.flag_values import read_flags
from fooocusapi.flags import FLAGS, SECTIONS
from tests.conftest import Start
from tests.fakes import FakeReceiver
from tests.malformed import Fault, json_faults
from tests.servers import SMALL, TEXT_TO_IMAGE

HEAP_BYTES = 2**26  # of address space, as glibc reserves it for a thread


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    receiver = FakeReceiver()
    yield receiver
    receiver.close()


def test_server_makes_a_picture_and_ends_with_status_0(start: Start) -> None:
    server = start()
    (item,) = server.post()
    assert item["url"].startswith(server.url)
    with urllib.request.urlopen(item["url"], timeout=10) as answer:
        assert answer.read().startswith(b"\x89PNG")
    server.stop()
    assert server.wait() == 0


def test_running_picture_may_finish_when_the_server_is_told_to_stop(start: Start) -> None:
    server = start()
    with ThreadPoolExecutor() as pool:
        caller = pool.submit(server.post)
        server.wait_for("job .*: started")
        server.stop()
        assert caller.result(timeout=20)[0]["finish_reason"] == "SUCCESS"
    assert server.wait() == 0


def test_f11_a_picture_that_outlasts_the_grace_time_is_made_after_the_next_start(
    start: Start,
) -> None:
    server = start("--shutdown-grace", "0.05", FAKE_HOLD="1")
    with ThreadPoolExecutor() as pool:
        caller = pool.submit(server.request, "POST", TEXT_TO_IMAGE, SMALL)
        job_id = server.wait_for(r"job (\S+): started")[1]
        server.stop()
        answer = caller.result(timeout=20)
    assert (answer.status, answer.headers["X-Fooocus-Job-Id"]) == (503, job_id)
    assert job_id in answer.body["detail"]
    assert server.wait() == 0
    assert "Traceback" not in server.rest()
    again = start()
    job = again.wait_for_end(job_id)
    # Being told to stop is no crash, so it does not count.
    assert (job["status"], job["attempt"]) == ("succeeded", 1)


def test_second_signal_does_not_wait_for_the_picture_and_nothing_is_told_of_a_kept_job(
    start: Start, receiver: FakeReceiver
) -> None:
    server = start("--shutdown-grace", "600", "--webhook-url", receiver.url, FAKE_HOLD="1")
    with ThreadPoolExecutor() as pool:
        caller = pool.submit(server.request, "POST", TEXT_TO_IMAGE, SMALL)
        server.wait_for("job .*: started")
        server.stop()
        server.wait_for("Shutting down")
        server.stop()
        assert caller.result(timeout=20).status == 503
    assert server.wait() == 0
    assert receiver.bodies.empty()
    log = server.rest()
    assert "put back" in log
    assert "Traceback" not in log


def test_second_signal_while_connections_close_changes_nothing(start: Start) -> None:
    server = start()
    server.post()
    server.stop()
    server.stop()
    assert server.wait() == 0
    assert "Traceback" not in server.rest()


def test_threads_share_one_heap(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("MALLOC_", "GLIBC_TUNABLES")):
            monkeypatch.delenv(name)
    server = start()
    server.post()
    assert not [*heaps_of_threads(Path(f"/proc/{server.pid}/maps"))]


def heaps_of_threads(maps: Path) -> Iterator[int]:
    """Where threads have heaps of their own: a part that is used, and the rest, only reserved."""
    rows = (line.split()[:2] for line in maps.read_text(encoding="utf-8").splitlines())
    spans = [(*(int(end, 16) for end in span.split("-")), access) for span, access in rows]
    for (begin, _, used), (_, end, reserved) in pairwise(spans):
        is_whole = begin % HEAP_BYTES == 0 and end == begin + HEAP_BYTES
        if is_whole and (used, reserved) == ("rw-p", "---p"):
            yield begin


def test_a_server_for_everybody_is_told_so_at_the_start(start: Start) -> None:
    server = start("--listen")
    assert "set --apikey" in "".join(server.lines)
    assert server.url.startswith("http://127.0.0.1:")


FAULTS = [
    # What is told of each is looked at in tests/core: a text and a value are enough by default.
    pytest.param(fault, marks=[] if fault.name in ("GBK", "is null") else [pytest.mark.slow])
    for fault in json_faults('[\n"x"\n]', ["null"])
    if fault.name in ("GBK", "truncated", "is null", "100 MB")
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_b66_malformed_files_are_told_once_and_the_server_starts(
    start: Start, tmp_path: Path, fault: Fault
) -> None:
    config = fault.write(tmp_path / "config.txt")
    pack = fault.write(tmp_path / "styles" / "mine.json")
    server = start("--styles-path", str(pack.parent), config_path=str(config))
    (item,) = server.post()
    assert item["finish_reason"] == "SUCCESS"
    for path in (config, pack):
        (line,) = [line for line in server.lines if str(path) in line]
        assert "WARNING" in line
        assert fault.place(path) in line


def test_the_configuration_is_printed_with_its_sources_and_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "my config.txt"
    config.write_text('{\n"default_clip_skip": "2",\n"default_sampler": "lcm"\n}', "utf-8")
    environ = {
        "config_path": str(config),
        "default_cfg_scale": "5.5",
        "FOOOCUSAPI_QUEUE_SIZE": "7",
        "FOOOCUSAPI_OUTPUT_PATH": str(tmp_path / "out"),
    }
    show_config(read_flags(["--port", "99", "--apikey", "hush-hush"], environ), environ)
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert "--port = 99  (command line)" in lines
    assert "--queue-size = 7  (environment)" in lines
    assert f"--output-path = {tmp_path / 'out'}  (environment)" in lines
    assert f"path_outputs = {tmp_path / 'out'}  (flag)" in lines
    assert "default_sampler = lcm  (config.txt)" in lines
    assert "default_cfg_scale = 5.5  (environment)" in lines
    assert "default_scheduler = karras  (preset default)" in lines
    assert "default_clip_skip = 2  (built-in)" in lines
    assert "hush" not in printed.out
    (warning,) = printed.err.splitlines()
    assert warning.startswith(f"warning: default_clip_skip in {config}, line 2: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot be read"),
        ("anna:1234:read", "line 1: wanted is name:sha256:scopes"),
        (f"anna:{'0' * 64}:read\nanna:{'1' * 64}:read", "two API keys have the name anna"),
    ],
    ids=["no file", "a key in place of its hash", "a name twice"],
)
def test_b64_keys_that_cannot_be_read_are_refused_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, reason: str
) -> None:
    path = tmp_path / "keys"
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(SystemExit) as caught:
        main(["config", "--api-keys-file", str(path)])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert "1234" not in line


def test_b64_a_start_that_is_refused_ends_the_process_with_status_2_and_one_line() -> None:
    command = [sys.executable, "main.py", "--preset", "nonsense"]
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "nonsense" in line


Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Starts with these arguments, and tells why that was refused."""

    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    return refused


def test_b64_a_folder_that_cannot_be_written_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below = str(tmp_path / "file" / "x")
    assert "output folder" in refused("--port", "0", "--output-path", below)
    # Root may write anywhere but here.
    assert "output folder /proc" in refused("--port", "0", "--output-path", "/proc")
    places = ["--port", "0", "--output-path", str(tmp_path / "out")]
    assert "cache folder" in refused(*places, "--cache-path", below)
    assert "temporary folder" in refused(*places, "--temp-path", below)


def test_b64_a_port_that_is_taken_is_refused(refused: Refused, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert str(port) in refused("--port", str(port), "--output-path", str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "base_url"),
    [
        ([], "http://127.0.0.1:8888"),
        (["--host", "0.0.0.0"], "http://127.0.0.1:8888"),
        (["--listen"], "http://127.0.0.1:8888"),
        (["--listen", "10.0.0.1"], "http://10.0.0.1:8888"),
        (["--listen", "10.0.0.1", "--host", "10.0.0.2"], "http://10.0.0.2:8888"),
        (["--host", "::1"], "http://[::1]:8888"),
        (["--base-url", "https://pictures.example/api/"], "https://pictures.example/api"),
    ],
)
def test_base_url_follows_host_and_port(
    core: CoreConfig, arguments: list[str], base_url: str
) -> None:
    assert make_settings(read_flags(arguments, {}), core, port=8888).base_url == base_url


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], DeviceOptions()),
        (["--always-cpu"], DeviceOptions(always_cpu=-1)),
        (["--always-cpu", "2", "--all-in-fp32"], DeviceOptions(always_cpu=2, all_in_fp32=True)),
        (
            ["--unet-in-bf16", "--vae-in-fp32", "--clip-in-fp16", "--vae-in-cpu"],
            DeviceOptions(
                unet_in=Precision.BF16,
                vae_in=Precision.FP32,
                clip_in=Precision.FP16,
                vae_on_cpu=True,
            ),
        ),
        (
            ["--unet-in-fp8-e4m3fn", "--clip-in-fp8-e5m2"],
            DeviceOptions(unet_in=Precision.FP8_E4M3FN, clip_in=Precision.FP8_E5M2),
        ),
        (
            ["--attention-split", "--disable-attention-upcast", "--pytorch-deterministic"],
            DeviceOptions(
                attention=AttentionKind.SPLIT, upcasts_attention=False, is_deterministic=True
            ),
        ),
        (["--attention-quad"], DeviceOptions(attention=AttentionKind.QUAD)),
        (["--attention-pytorch"], DeviceOptions()),
        (["--always-gpu"], DeviceOptions(memory=MemoryMode.GPU)),
        (["--always-high-vram"], DeviceOptions(memory=MemoryMode.HIGH)),
        (["--model-cache", "1.5"], DeviceOptions(model_cache=3 * 2**29)),
        (["--model-cache", "0"], DeviceOptions(model_cache=0)),
        (["--always-normal-vram"], DeviceOptions(memory=MemoryMode.NORMAL)),
        (
            ["--always-low-vram", "--always-offload-from-vram"],
            DeviceOptions(memory=MemoryMode.LOW, offloads=True),
        ),
        (
            ["--always-no-vram", "--disable-offload-from-vram"],
            DeviceOptions(memory=MemoryMode.NO, offloads=False),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_device_options_follow_the_flags(arguments: list[str], options: DeviceOptions) -> None:
    assert device_options(read_flags(arguments, {})) == options


# Lowest first.
SOURCES = (
    "built-in",
    "preset default",
    "config.txt",
    "preset mine",
    "environment",
    "flag's variable",
    "command line",
)
FILES = {
    "preset default": "presets/default.json",
    "config.txt": "config.txt",
    "preset mine": "presets/mine.json",
}


def configure(root: Path, key: str, flag: str, sources: Collection[str]) -> CoreConfig:
    """The configuration in which each of these sources names its own folder."""
    for source, file in FILES.items():
        said = {key: str(root / source)} if source in sources else {}
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_text(json.dumps(said), encoding="utf-8")
    arguments = [f"--{flag}", str(root / "command line")] if "command line" in sources else []
    variable = f"FOOOCUSAPI_{flag.upper().replace('-', '_')}"
    environ = {
        **({key: str(root / "environment")} if "environment" in sources else {}),
        **({variable: str(root / "flag's variable")} if "flag's variable" in sources else {}),
    }
    return read_core(read_flags(["--preset", "mine", *arguments], environ), environ, root)


def shown_source(source: str) -> str:
    return "flag" if source in ("flag's variable", "command line") else source


@pytest.mark.parametrize(
    ("key", "flag", "field"),
    [
        ("path_outputs", "output-path", "outputs"),
        ("path_styles", "styles-path", "user_styles"),
        ("temp_path", "temp-path", "temp"),
    ],
)
@pytest.mark.parametrize(("lower", "higher"), [*combinations(SOURCES, 2)], ids=" under ".join)
def test_of_two_sources_of_a_folder_the_higher_one_wins(
    lower: str, higher: str, key: str, flag: str, field: str, tmp_path: Path
) -> None:
    core = configure(tmp_path, key, flag, (lower, higher))
    assert getattr(core.folders, field) == tmp_path / higher
    assert core.sources[key] == shown_source(higher)
    assert core.warnings == ()


MODEL_SOURCES = ("built-in", "flag's variable", "command line", *SOURCES[1:5])


@pytest.mark.parametrize(("lower", "higher"), [*combinations(MODEL_SOURCES, 2)], ids=" under ".join)
def test_the_key_of_one_model_folder_wins_over_the_flag_for_all(
    lower: str, higher: str, tmp_path: Path
) -> None:
    core = configure(tmp_path, "path_loras", "models-path", (lower, higher))
    is_root = shown_source(higher) == "flag"
    folder = tmp_path / higher / "loras" if is_root else tmp_path / higher
    assert core.folders.loras == (folder,)
    assert core.sources["path_loras"] == shown_source(higher)


@pytest.mark.parametrize(
    ("arguments", "environ", "preset"),
    [
        ([], {}, "default"),
        ([], {"FOOOCUSAPI_PRESET": "anime"}, "anime"),
        (["--preset", "lcm"], {"FOOOCUSAPI_PRESET": "anime"}, "lcm"),
    ],
)
def test_the_preset_is_that_of_the_command_line_before_the_environment(
    arguments: list[str], environ: dict[str, str], preset: str, tmp_path: Path
) -> None:
    assert read_core(read_flags(arguments, environ), environ, tmp_path).preset == preset


def test_help_names_every_flag(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    titles = re.findall(r"^(\S.*):$", shown, re.MULTILINE)
    assert [title for title in titles if title != "options"] == list(SECTIONS)
    assert set(re.findall(r"^  --([a-z0-9-]+)", shown, re.MULTILINE)) == {
        flag.name for flag in FLAGS
    }
    assert "underscores" in shown
