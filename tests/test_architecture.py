"""Who may import whom, read from the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Top may import below, never the reverse; names of one row may import each other.
SERVICE = (
    ("cli",),
    (
        "app",
        "commands",
        "doctor_command",
        "cross_origin",
        "http_protocol",
        "job_parts",
        "hash_rebuild",
        "folders",
    ),
    ("download_command",),
    ("routers",),
    ("openapi",),
    ("problems",),
    ("dependencies", "bodies"),
    ("errors",),
    ("submit", "security"),
    ("rate_limit", "event_tokens", "hosts", "form_body"),
    ("job_events",),
    ("recovery", "job_report", "job_history"),
    ("translate", "translate_back", "respond", "webhooks", "image_log", "job_lookup"),
    ("webhook_messages", "webhook_sending"),
    ("translate_models", "translate_enhance"),
    ("translate_pictures",),
    ("translate_guides", "translate_masks"),
    ("idempotency",),
    ("jobs",),
    ("request_record",),
    ("storage", "inputs", "addresses", "needed_files", "field_names", "tolerance", "input_files"),
    ("fetch_rules",),
    ("flag_values", "log_format", "preferences"),
    ("flags",),
    ("flag_texts",),
    ("origins", "request_ids"),
    ("settings",),
    ("webhook_signing", "disconnects", "descriptors"),
    ("schemas", "exceptions", "api_keys"),
)
CORE = (
    ("engine",),
    ("workflows",),
    ("metadata",),
    ("plan",),
    ("sampling",),
    ("text", "unet", "vae", "vision"),
    ("loading",),
    (
        "metadata.reading",
        "metadata.record_text",
        "metadata.record_values",
        "metadata.style_search",
        "metadata.a1111_words",
    ),
    ("fetching", "feature_files"),
    ("remote_files", "transfer_progress"),
    ("passes",),
    ("prompt", "images", "catalog", "downloads", "hashes", "performance", "metadata.embed"),
    ("config", "config_layers", "config_values", "params"),
    ("presets",),
    ("choices", "errors", "events", "files", "main_memory"),
)
LIGHT = {
    f"fooocus_core.{name}"
    for name in [
        "choices",
        "errors",
        "events",
        "params",
        "config",
        "config_values",
        "config_layers",
        "presets",
        "catalog",
        "downloads",
        "feature_files",
        "fetching",
        "files",
        "hashes",
        "main_memory",
        "passes",
        "performance",
        "prompt.styles",
        "transfer_progress",
        "metadata.embed",
        "metadata.reading",
        "images.arrays",
        "images.hole",
        "images.resize",
        "images.sizes",
    ]
}
# What fetches alone needs, and only when it does.
HUB = {"huggingface_hub", "tqdm", "httpx2"}
HEAVY = {"torch", "diffusers", "transformers", "accelerate", "safetensors", "onnxruntime"}
API_SPELLINGS = re.compile(r"\b(cn_\w+|uov_\w+|adm_scaler_\w+|overwrite_\w+|\w+_checkbox)\b")
# Configuration keys are spelt as Fooocus spells them, and these are read by the core.
CONFIGURATION_KEYS = re.compile(r"\bdefault_overwrite_\w+|\boverwrite_switch\b")


def modules(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"{package} is empty"
    return found


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def source_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, *, at_top: bool = False) -> Iterator[str]:
    """Modules that a file imports; ``at_top`` leaves out what is inside functions."""
    tree = source_of(path)
    for node in tree.body if at_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {path}"
            assert node.module is not None
            for alias in node.names:
                inner = ROOT / f"{node.module}.{alias.name}".replace(".", "/")
                is_module = inner.with_suffix(".py").exists() or inner.is_dir()
                yield f"{node.module}.{alias.name}" if is_module else node.module


def level(module: str, package: str, levels: tuple[tuple[str, ...], ...]) -> int | None:
    """The row of a module; the longest name that fits counts."""
    inner = module.removeprefix(f"{package}.")
    fitting = [
        (len(name), row)
        for row, names in enumerate(levels)
        for name in names
        if inner == name or inner.startswith(f"{name}.")
    ]
    return max(fitting)[1] if fitting else None


@pytest.mark.parametrize(
    ("package", "levels"),
    [("fooocusapi", SERVICE), ("fooocus_core", CORE)],
    ids=["fooocusapi", "fooocus_core"],
)
def test_every_module_has_its_place_and_imports_downwards(
    package: str, levels: tuple[tuple[str, ...], ...]
) -> None:
    for path in modules(package):
        check_direction(path, package, levels)


def check_direction(path: Path, package: str, levels: tuple[tuple[str, ...], ...]) -> None:
    module = name_of(path)
    if module == package:
        return
    own = level(module, package, levels)
    assert own is not None, f"{module} has no place"
    for imported in imports(path):
        if imported.startswith(f"{package}."):
            other = level(imported, package, levels)
            assert other is not None, f"{imported} has no place"
            assert other >= own, f"{module} imports {imported}, which is above it"


def taken_by(path: Path, roots: set[str]) -> set[str]:
    """Which of these packages a file imports from."""
    return {imported.partition(".")[0] for imported in imports(path)} & roots


def test_core_knows_nothing_of_the_service() -> None:
    service = {"fooocusapi", "fastapi", "starlette", "uvicorn", "pydantic"}
    assert [path for path in modules("fooocus_core") if taken_by(path, service)] == []


def test_core_uses_no_spelling_of_the_api() -> None:
    for path in modules("fooocus_core"):
        source = CONFIGURATION_KEYS.sub("", path.read_text(encoding="utf-8"))
        assert API_SPELLINGS.findall(source) == [], path


def test_service_takes_only_light_modules_of_the_core() -> None:
    for path in modules("fooocusapi"):
        taken = {imported for imported in imports(path) if imported.startswith("fooocus_core.")}
        allowed = LIGHT | ({"fooocus_core.engine"} if path.stem == "cli" else set())
        assert taken - allowed == set(), path
        assert "fooocus_core.engine" not in set(imports(path, at_top=True)), path


def test_service_imports_no_model_library() -> None:
    assert [path for path in modules("fooocusapi") if taken_by(path, HEAVY)] == []


def test_jobs_know_neither_http_nor_files() -> None:
    for path in modules("fooocusapi/jobs"):
        assert not taken_by(path, {"fastapi", "pydantic"}), path
        assert not set(imports(path)) & {"fooocusapi.storage", "fooocusapi.webhooks"}, path


def test_pydantic_stays_in_schemas_and_settings() -> None:
    users = [path for path in modules("fooocusapi") if taken_by(path, {"pydantic"})]
    assert users
    for path in users:
        assert "schemas" in path.parts or path.stem in ("settings", "bodies"), path


def loaded_by(statement: str) -> set[str]:
    script = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def test_service_starts_without_model_libraries() -> None:
    assert not loaded_by("import fooocusapi.app, fooocusapi.cli") & (HEAVY | HUB)


def test_light_modules_of_the_core_load_no_model_library() -> None:
    existing = [module for module in sorted(LIGHT) if is_there(module)]
    assert not loaded_by(f"import {', '.join(existing)}") & (HEAVY | HUB)


def is_there(module: str) -> bool:
    path = ROOT / module.replace(".", "/")
    return path.with_suffix(".py").exists() or path.is_dir()
