"""How long does a full-size checkpoint take to load, and how much memory at the peak?

Beside it: a plain read of the same file. Both from a warm cache of files, and the loading counts
until every weight has been looked at, because weights of a mapped file come in when they are used.
Needs Linux, 7 GB of disk and 16 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.made_models import CHECKPOINT, write_real_family
from benchmarks.memory import reset_peaks, resident_mib
from benchmarks.results import report
from fooocus_core.config import DeviceOptions, Precision
from fooocus_core.loading.checkpoint import build_checkpoint
from fooocus_core.loading.memory import pick_device
from fooocus_core.loading.warm import networks_of
from fooocus_core.loading.weight_file import read_weights

_BLOCK = 16 * 2**20


def read_plainly(path: Path) -> float:
    """Seconds that reading a file from its beginning to its end takes."""
    buffer = bytearray(_BLOCK)
    began = time.monotonic()
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.monotonic() - began


def measure_loading(path: Path, precision: Precision) -> dict[str, float]:
    """Load a checkpoint in this process: seconds, and MiB resident at the peak."""
    options = DeviceOptions(
        all_in_fp16=precision is Precision.FP16, all_in_fp32=precision is Precision.FP32
    )
    plan = pick_device(options)
    reset_peaks()
    began = time.monotonic()
    model = build_checkpoint(read_weights(path), plan)
    for network in networks_of(model):
        for tensor in network.state_dict().values():
            # One value of every page that a weight lies on.
            tensor.reshape(-1)[:: max(1, 4096 // tensor.itemsize)].sum()
    return {"seconds": time.monotonic() - began, "peak_mib": resident_mib("VmHWM")}


def load_elsewhere(path: Path, precision: Precision) -> dict[str, float]:
    """The same in a process of its own, whose memory nothing else has touched."""
    command = [sys.executable, "-m", "benchmarks.load_time", "--measure", path, precision]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    """Print time and memory for each number format of the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="take this one instead of making one")
    parser.add_argument("--measure", nargs=2, metavar=("FILE", "FORMAT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        path, precision = arguments.measure
        print(json.dumps(measure_loading(Path(path), Precision(precision))))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.checkpoint or Path(folder, CHECKPOINT)
        if arguments.checkpoint is None:
            write_real_family(Path(folder))
        compare(path)


def compare(path: Path) -> None:
    """Print what loading a file takes, in proportion to the file."""
    mib = path.stat().st_size / 2**20
    for precision in (Precision.FP16, Precision.FP32):
        read_plainly(path)
        plain = read_plainly(path)
        loaded = load_elsewhere(path, precision)
        settings = {"weights": precision, "file_mib": round(mib), "plain_read_s": round(plain, 2)}
        report("loading / plain read", loaded["seconds"] / plain, "ratio", **settings)
        report("peak resident / file", loaded["peak_mib"] / mib, "ratio", **settings)


if __name__ == "__main__":
    main()
