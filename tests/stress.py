"""Tests that take minutes, by name: `python -m tests.stress [PART ...]`; without a name all of them.

CI runs each of them in a short form; here they are long, and print figures.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

from tests.capture import test_bits, test_faults, test_leaks, test_operations, test_state_changes


def interrupts(times: int = 200) -> None:
    """Interrupt captured training at random."""
    torn = test_faults.interrupt(times)
    print(f"{times} interrupts, {torn} torn steps")
    assert not torn


def two_threads() -> None:
    """Compare all bits once more with two BLAS threads."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-m", "tests.stress", "capture-bits"], check=True, env=environment)


def sweep_kills() -> None:
    """Kill workers of sweeps, on processes and on a Dask cluster: 200 of 200 trials end once, 20 times."""
    from tests.sweep import chaos  # it needs the extras [sweep] and [cluster]

    chaos.long()


PARTS: dict[str, Callable[[], None]] = {
    "capture-bits": test_bits.long,
    "capture-two-threads": two_threads,
    "capture-operations": test_operations.long,
    "capture-leaks": test_leaks.long,
    "capture-state-changes": test_state_changes.long,
    "capture-interrupts": interrupts,
    "sweep-kills": sweep_kills,
}


def main() -> None:
    """Run the parts that are named; an error ends the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for name in chosen:
        start = time.perf_counter()
        print(f"-- {name}", flush=True)
        PARTS[name]()
        print(f"-- {name}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
