"""What the last bits of a result depend on, beside the run itself."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np

__all__ = ["NUMERICS", "environment"]

NUMERICS = 3
"""Raised by every change of the package that changes a bit of a step.  A file without the number is of 1."""


def environment() -> dict[str, Any]:
    """Give the package's number, the machine, NumPy's build and its BLAS threads, as far as they show, for JSON."""
    blas = np.__config__.CONFIG.get("Build Dependencies", {}).get("blas", {})
    threads = next(
        (os.environ[k] for k in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS") if os.environ.get(k)),
        None,
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "numerics": NUMERICS,
        "machine": f"{platform.system()} {platform.machine()}",
        "NumPy": np.__version__,
        "BLAS": f"{blas.get('name', '?')} {blas.get('version', '?')}",
        "BLAS threads": int(threads) if threads and threads.isdigit() else cores,
    }
