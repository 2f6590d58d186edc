"""How long does a look through 10 000 model files take, and how long the bare walk alone?"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.results import report
from fooocus_core.catalog import Catalog, ModelKind
from fooocus_core.config import load_config

FOLDERS, FILES_EACH, REPEATS = 50, 200, 7


def best_ms(work: Callable[[], object]) -> float:
    """The shortest of some runs, which other work on the machine disturbs least."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def main() -> None:
    """Print both times."""
    with tempfile.TemporaryDirectory() as root:
        for folder in range(FOLDERS):
            path = Path(root, "models", "loras", f"folder {folder}")
            path.mkdir(parents=True)
            for file in range(FILES_EACH):
                (path / f"Model_{file:04}.safetensors").touch()
        catalog = Catalog(load_config(root=Path(root), environ={}).folders)
        sizes = {"files": FOLDERS * FILES_EACH, "folders": FOLDERS}
        report("scan", best_ms(lambda: catalog.names(ModelKind.LORA)), "ms", **sizes)
        report("bare walk", best_ms(lambda: list(os.walk(root))), "ms", **sizes)


if __name__ == "__main__":
    main()
