"""Command line -> settings and core configuration; builds the app and serves it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

import uvicorn
from fastapi import FastAPI

from fooocus_core.catalog import Catalog
from fooocus_core.config import (
    AttentionKind,
    CoreConfig,
    DeviceOptions,
    MemoryMode,
    Precision,
    load_config,
    use_folders,
)
from fooocus_core.errors import FooocusError
from fooocus_core.feature_files import all_files, preset_files
from fooocus_core.main_memory import share_one_heap
from fooocusapi.api_keys import KEYS_VARIABLE, ApiKeyError, read_keys
from fooocusapi.app import create_app
from fooocusapi.commands import config_lines
from fooocusapi.dependencies import Services
from fooocusapi.descriptors import connection_limit
from fooocusapi.doctor_command import can_serve, examine, report_lines
from fooocusapi.download_command import fetch_missing, list_lines, look_for
from fooocusapi.exceptions import StoreError
from fooocusapi.fetch_rules import MirrorError, read_fetch_rules
from fooocusapi.flag_values import FlagValues, read_flags
from fooocusapi.folders import StartError, prepare_folders
from fooocusapi.hash_rebuild import rebuild_hashes
from fooocusapi.http_protocol import LimitedProtocol
from fooocusapi.jobs.database import configured_url
from fooocusapi.jobs.worker import Engine
from fooocusapi.log_format import LineFormatter
from fooocusapi.security import weak_spots
from fooocusapi.settings import Settings

_log = logging.getLogger(__name__)

PROJECT_ROOT = Path(__file__).resolve().parents[1]
_COMMANDS = ("config", "download", "doctor")
DATABASE_VARIABLE = "FOOOCUS_DB_CONF"
RESTART_WANTED = 70
"""Exit status of a server that has to be started again to make pictures."""

_USAGE_ERROR, _INTERRUPTED = 2, 130
# One that is about to end may still hold the folder.
_CLAIM_WAIT_S = 2.0
Choice = TypeVar("Choice", bound=StrEnum)
EngineMaker = Callable[[CoreConfig, DeviceOptions], Engine]


class Server(uvicorn.Server):
    """Serves until told to stop, and then drains before it waits for open connections.

    Callers that wait for a picture keep their connection open, so the worker has to be told
    first. A second signal cancels the running picture instead of waiting for it.
    """

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services
        self._loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Note the signal; it is not raised again afterwards, so that the exit status is 0."""
        self.force_exit = self.should_exit
        self.should_exit = True
        if self.force_exit and self._loop is not None:
            # Locks must not be taken here: the signal may have come while one was held.
            self._loop.call_soon_threadsafe(self._services.queue.interrupt)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain the worker beside closing connections."""
        self._loop = asyncio.get_running_loop()
        grace_s = 0.0 if self.force_exit else self._services.settings.shutdown_grace_s
        draining = self._loop.run_in_executor(None, self._services.worker.stop, grace_s)
        await super().shutdown(sockets)
        await draining
        if self.force_exit:
            # Left out then by the server library, but what has ended is still to be told.
            await self.lifespan.shutdown()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve by the flags given, or do what the command in front of them says.

    Ends the process with status 2 if that is refused.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given.pop(0) if given and given[0] in _COMMANDS else None
    switches = {text for text in given if command == "download" and text in ("--all", "--list")}
    flags = read_flags([text for text in given if text not in switches], os.environ)
    if command == "config":
        show_config(flags, os.environ)
    elif command == "download":
        sys.exit(
            download(flags, os.environ, is_all="--all" in switches, lists="--list" in switches)
        )
    elif command == "doctor":
        sys.exit(examine_host(flags, os.environ))
    else:
        run(flags, os.environ, _make_engine)


def show_config(flags: FlagValues, environ: Mapping[str, str]) -> None:
    """Print every value in effect with its source; what could not be used goes to stderr."""
    core = _read_core_or_end(flags, environ)
    try:
        settings = make_settings(flags, core, port=flags["port"], environ=environ)
    except (StoreError, ApiKeyError) as error:
        _refuse(error)
    for line in config_lines(flags, core, settings):
        sys.stdout.write(f"{line}\n")


def download(flags: FlagValues, environ: Mapping[str, str], *, is_all: bool, lists: bool) -> int:
    """Fetch what is missing of the preset's files or of all, or list them.

    Returns:
        The exit status: 0 = listed, or all are there; 1 = some could not be fetched; 130 = stopped.
    """
    _set_up_log(flags)
    _set_up_libraries(flags)
    core = _read_core_or_end(flags, environ)
    catalog = Catalog(core.folders)
    files = all_files(core, catalog) if is_all else preset_files(core, catalog)
    wanted = look_for(files, core, catalog)
    if lists:
        sys.stdout.writelines(f"{line}\n" for line in list_lines(wanted))
        return 0
    try:
        return 0 if fetch_missing(wanted, core) else 1
    except KeyboardInterrupt:
        _log.info("stopped; the next download goes on from here")
        return _INTERRUPTED


def examine_host(flags: FlagValues, environ: Mapping[str, str]) -> int:
    """Print whether this host can serve with these flags, and what it has.

    Returns:
        The exit status: 0 = it can, 1 = it cannot.
    """
    _set_up_libraries(flags)
    core = _read_core_or_end(flags, environ)
    options = device_options(flags)
    trouble = _port_trouble(_host(flags), flags["port"])
    sections = list(examine(core, lambda: _describe_device(options), trouble))
    sys.stdout.writelines(f"{line}\n" for line in report_lines(sections))
    return 0 if can_serve(sections) else 1


def run(flags: FlagValues, environ: Mapping[str, str], make_engine: EngineMaker) -> None:
    """Serve with the given engine until a signal comes."""
    share_one_heap()
    _set_up_log(flags)
    _set_up_libraries(flags)
    try:
        core = read_core(flags, environ)
        prepare_folders(core)
        listener = _listen(_host(flags), flags["port"])
        settings = make_settings(flags, core, port=listener.getsockname()[1], environ=environ)
        claim = _claim_outputs(settings.outputs)
        if flags["rebuild_hash_cache"] is not None:
            rebuild_hashes(core, flags["rebuild_hash_cache"])
        _log_warnings(core, settings)
        options = device_options(flags)
        app = create_app(
            settings, core, lambda: make_engine(core, options), on_lost=_stop_this_process
        )
    except (StartError, FooocusError, MirrorError, StoreError, ApiKeyError) as error:
        _refuse(error)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    with closing(claim):
        _serve(app, settings, listener)


def _set_up_log(flags: FlagValues) -> None:
    level = flags["log_level"].upper().replace("TRACE", "DEBUG")
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    # It warns of every form that is malformed, which callers are told.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    # Below that level the first four log the addresses of webhooks and pictures, which may hold
    # secrets, and the last how it works.
    for name in ("httpx", "httpx2", "httpcore", "httpcore2", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _set_up_libraries(flags: FlagValues) -> None:
    """Set what libraries read when they are loaded."""
    if flags["gpu_device_id"] is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(flags["gpu_device_id"])
    # Threads that wait by spinning slow a busy machine down tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # The hub's library would ask the hub itself, whatever the mirror, how to report its user.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def _read_core_or_end(flags: FlagValues, environ: Mapping[str, str]) -> CoreConfig:
    """The configuration of a command; what of it could not be used goes to stderr."""
    try:
        core = read_core(flags, environ)
    except (FooocusError, MirrorError) as error:
        _refuse(error)
    for warning in core.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return core


def _refuse(error: Exception) -> NoReturn:
    sys.stderr.write(f"main.py: error: {error}\n")
    sys.exit(_USAGE_ERROR)


def read_core(
    flags: FlagValues, environ: Mapping[str, str], root: Path = PROJECT_ROOT
) -> CoreConfig:
    """The pipeline's configuration; ``root`` is where its files lie.

    Raises:
        FooocusError: There is no preset of the name given.
        MirrorError: A variable names no address.
    """
    core = load_config(
        root=root,
        preset=flags["preset"],
        models_path=flags["models_path"],
        styles_path=flags["styles_path"],
        output_path=flags["output_path"],
        temp_path=flags["temp_path"],
        environ=environ,
    )
    core = use_folders(core, cache=flags["cache_path"], other_roots=flags["external_working_path"])
    return replace(core, fetching=read_fetch_rules(flags, environ, core.preset))


def make_settings(
    flags: FlagValues, core: CoreConfig, *, port: int, environ: Mapping[str, str] | None = None
) -> Settings:
    """The service's options; ``port`` is the one really listened on.

    Raises:
        StoreError: The job store's address cannot be read.
        ApiKeyError: The API keys cannot be read.
    """
    host = _host(flags)
    environ = environ or {}
    database = environ.get(DATABASE_VARIABLE)
    return Settings(
        outputs=core.folders.outputs,
        host=host,
        port=port,
        base_url=(flags["base_url"] or _default_base_url(host, port)).rstrip("/"),
        log_level=flags["log_level"],
        preload=flags["preload_pipeline"],
        queue_size=flags["queue_size"],
        queue_history=flags["queue_history"],
        retention_days=flags["retention_days"],
        retention_bytes=flags["retention_bytes"],
        persistent=flags["persistent"],
        max_attempts=flags["max_attempts"],
        database=configured_url(database, PROJECT_ROOT) if database else None,
        apikey=flags["apikey"],
        api_keys=read_keys(flags["api_keys_file"], environ.get(KEYS_VARIABLE)),
        rate_limit=flags["rate_limit"],
        plain_base64=flags["plain_base64"],
        webhook_url=flags["webhook_url"],
        public_webhooks_only=flags["public_webhooks_only"],
        webhook_secrets=flags["webhook_secret"],
        cancel_on_disconnect=flags["cancel_on_disconnect"],
        allow_private_urls=flags["allow_private_urls"],
        strict=flags["strict"],
        save_metadata=not flags["disable_metadata"],
        image_log=not flags["disable_image_log"],
        previews=flags["preview_option"] != "none",
        max_body_bytes=flags["max_body_size"],
        shutdown_grace_s=flags["shutdown_grace"],
        step_timeout_s=flags["step_timeout"],
        unload_after_s=flags["unload_after"],
        cors_origins=flags["cors_allow_origins"] or (),
    )


def device_options(flags: FlagValues) -> DeviceOptions:
    """What the flags say about device, number formats, attention and memory."""
    return DeviceOptions(
        always_cpu=flags["always_cpu"],
        all_in_fp32=flags["all_in_fp32"],
        all_in_fp16=flags["all_in_fp16"],
        unet_in=_chosen(flags, "unet_in_", Precision),
        vae_in=_chosen(flags, "vae_in_", Precision),
        clip_in=_chosen(flags, "clip_in_", Precision),
        vae_on_cpu=flags["vae_in_cpu"],
        attention=_chosen(flags, "attention_", AttentionKind) or AttentionKind.PYTORCH,
        upcasts_attention=not flags["disable_attention_upcast"],
        is_deterministic=flags["pytorch_deterministic"],
        memory=_chosen(flags, "always_", MemoryMode) or MemoryMode.NORMAL,
        offloads=_offloads(flags),
        model_cache=flags["model_cache"],
    )


def _chosen(flags: FlagValues, prefix: str, choices: type[Choice]) -> Choice | None:
    """The choice whose name, behind the prefix, is a switch that was given."""
    given = (choice for choice in choices if flags.values.get(prefix + choice.replace("-", "_")))
    return next(given, None)


def _offloads(flags: FlagValues) -> bool | None:
    if flags["always_offload_from_vram"]:
        return True
    return False if flags["disable_offload_from_vram"] else None


def _make_engine(core: CoreConfig, options: DeviceOptions) -> Engine:
    # The engine loads the model libraries, which take seconds: not before the socket is open.
    from fooocus_core.engine import create_engine

    return create_engine(core, options)


def _describe_device(options: DeviceOptions) -> Sequence[str]:
    # As above: this takes seconds to load.
    from fooocus_core.engine import describe_device

    return describe_device(options)


def _port_trouble(host: str, port: int) -> str | None:
    try:
        _listen(host, port).close()
    except StartError as error:
        return str(error)
    return None


def _host(flags: FlagValues) -> str:
    return str(flags["host"] or flags["listen"] or "127.0.0.1")


def _default_base_url(host: str, port: int) -> str:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # From here on callers wait instead of being refused, and the address in the log is true.
        listener.listen()
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def _claim_outputs(folder: Path) -> sqlite3.Connection:
    """Keep other servers from going on with the jobs of this one, until the process ends."""
    claim = sqlite3.connect(folder / "server.lock", isolation_level=None, timeout=_CLAIM_WAIT_S)
    try:
        claim.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        claim.close()
        raise StartError(f"another server uses the output folder {folder}") from error
    return claim


def _log_warnings(core: CoreConfig, settings: Settings) -> None:
    for warning in core.warnings:
        _log.warning("configuration: %s", warning)
    for warning in weak_spots(settings):
        _log.warning("%s", warning)


def _stop_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _serve(app: FastAPI, settings: Settings, listener: socket.socket) -> None:
    config = uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws="none",
        log_level=settings.log_level,
        log_config=None,
        # Answered with 503 above that, instead of not at all.
        limit_concurrency=connection_limit(),
    )
    server = Server(config, app.state.services)
    _log.info("listening on %s", settings.base_url)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)
    services: Services = app.state.services
    if services.watchdog.has_bitten or services.worker.is_lost:
        sys.exit(RESTART_WANTED)
