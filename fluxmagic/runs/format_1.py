"""Version 1 of the files of runs: it is converted to version 2, which is then checked as such."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxmagic.runs.schema import mismatch

__all__ = ["upgrade"]

# Names in version 2, and in version 1.
RUN = {k: k for k in ("id", "fluxmagic", "name", "epochs", "steps", "state")}
RECORD = {k: k for k in ("opt", "updates", "stepwise", "kept", "planned")}
RECORD |= {"rejected": "refused", "epochs": "epoch_starts", "evaluations": "checks", "restored_weights": "put_back"}
SNAPSHOT = {"position": "place", "generators": "generators", "epoch_start": "epoch_start"}
OPTIMISER = {k: k for k in ("n", "hypers", "numbers")}
# Names of arrays in version 1, and in version 2.
ARRAYS = {"kept": "shown", "weights": "params", "statistics": "buffers", "opts": "optimisers"}
# What the first files lack.
DEFAULTS: dict[str, Any] = {"id": "", "fluxmagic": "", "steps": None, "stepwise": False, "kept": None}
DEFAULTS |= {"plan": [], "planned": -1}


def upgrade(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Convert meta data and arrays."""
    old = DEFAULTS | meta
    changes = {k: [[*e[:2], *map(_setting, e[2:])] for e in old[k]] for k in ("events", "plan")}
    new = _renamed(old, RUN) | {k: _snapshot(old[k]) for k in ("start", "now")}
    new["record"] = _renamed(old, RECORD) | {"values": _settings(old["values"])} | changes
    new["params"], new["buffers"] = [p["name"] for p in old["params"]], len(old["statistics"])
    new["environment"] = {"numerics": 1, **old["environment"]}
    seed = old["seed"]
    new["seed"] = {"bit_generator": "PCG64"} if isinstance(seed, dict) and "entropy" in seed else seed
    rows = {"rows": np.ones(len(arrays["loss"]), np.uint32)}
    return new, rows | {_array_name(k): a for k, a in arrays.items()}


def _snapshot(old: dict[str, Any]) -> dict[str, Any]:
    optimisers = {}
    for key, kept in old["opts"].items():
        if kept["name"] != key:
            raise mismatch(f"the name of {key}", kept["name"], key)
        optimisers[key] = _renamed(kept, OPTIMISER) | {"schedules": _settings(kept["schedules"])}
    return _renamed(old, SNAPSHOT) | {"optimisers": optimisers}


def _renamed(old: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {new: old[name] for new, name in names.items()}


def _settings(old: dict[str, Any]) -> dict[str, Any]:
    return {k: _setting(v) for k, v in old.items()}


def _setting(old: object) -> object:
    if not isinstance(old, dict) or "schedule" not in old:
        return old
    if old["schedule"] is None:
        return {"own": old.get("which", 0)}
    return {"schedule": old["schedule"], "arguments": old["with"]}


def _array_name(old: str) -> str:
    prefix, *rest = old.split("/", 2)
    return "/".join([ARRAYS.get(k, k) for k in (prefix, *rest[:1])] + rest[1:])
