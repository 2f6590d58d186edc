"""Serves with the fake engine, for trying clients without any model: ``make run-fake``.

With ``FAKE_HOLD`` in the environment every picture stops at its first step until it is cancelled.
"""

from __future__ import annotations

import os
import sys
import time

from fooocusapi.cli import run
from fooocusapi.flags import read_flags
from tests.fakes import FakeEngine, Script

PACE_S = 0.05

if __name__ == "__main__":
    flags = read_flags(["--preset", "tiny", *sys.argv[1:]], os.environ)
    usual = Script(gated="FAKE_HOLD" in os.environ)
    run(flags, os.environ, lambda *_: FakeEngine(pace=lambda: time.sleep(PACE_S), usual=usual))
