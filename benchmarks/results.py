"""The form in which every benchmark prints its results: one JSON object per line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import torch


def report(name: str, value: float, unit: str, **settings: Any) -> None:
    """Print one result with what it depends on."""
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    result = {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "commit": _commit(),
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "settings": settings,
    }
    print(json.dumps(result), flush=True)


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    root = Path(__file__).parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
