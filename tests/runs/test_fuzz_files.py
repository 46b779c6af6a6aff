"""Files of runs with random changes: each is refused, or is a run that can be looked at.

FLUXMAGIC_FUZZ is the number of files of each kind, FLUXMAGIC_SEED selects them.
"""

from __future__ import annotations

import copy
import json
import os
import random
import zipfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fluxmagic import NotFinite, Run, params
from fluxmagic.runs import ArchiveError, ReplayMismatch, archive
from tests.runs.archives import npy, spoil, steered, untouched
from tests.runs.saved_run import problem

TRIES = int(os.environ.get("FLUXMAGIC_FUZZ", "40"))
SEED = int(os.environ.get("FLUXMAGIC_SEED", "0"))

VALUES = [
    *(None, True, False, 0, 1, -1, 2, 3, 12, 10**9, 10**15, -(10**15), 1 << 64, 10**400),
    *(0.0, 0.5, -0.5, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", "x", "η", "opt", "SGD", "ADAM", "Momentum", "paused", "<script>", "'\"\\\n", "\udc80", "\0", "a" * 100_000),
    *([], [[]], [0], [0, 0], [1, 2, 3], ["x"], [None] * 9, {}, {"x": 1}, {"own": 0}),
    {"schedule": "cosine", "arguments": {"first": 0.1, "steps": 5, "last": 0.0}},
    {"schedule": None, "which": 1},
    {"ndarray": ["x"], "dtype": "U20000000"},
    {"bit_generator": "MT19937"},
]
DTYPES = ["f8", "f4", "f2", ">f8", "g", "i8", "u1", "?", "U3", "S2", "c16", "V4", "M8[s]"]


def places(x, path=()):
    """Yield the path of every value in JSON."""
    yield path
    for k, v in x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ():
        yield from places(v, (*path, k))


def change_json(rng, meta):
    *path, last = rng.choice([p for p in places(meta) if p])
    owner = meta
    for k in path:
        owner = owner[k]
    others = [v for p in places(meta) if p and rng.random() < 0.05 for v in [at(meta, p)]]
    match rng.randrange(6):
        case 0:
            del owner[last]
        case 1 if isinstance(owner, list):
            owner.insert(rng.randrange(len(owner) + 1), copy.deepcopy(owner[last]))
        case 1:
            owner[str(rng.choice(VALUES))] = owner.pop(last)
        case 2 if others:
            owner[last] = copy.deepcopy(rng.choice(others))
        case 3 if isinstance(owner[last], (int, float)):
            owner[last] += rng.choice([-1, 1, 0.5, 1e-9])
        case _:
            owner[last] = copy.deepcopy(rng.choice(VALUES))


def at(meta, path):
    for k in path:
        meta = meta[k]
    return meta


def change_arrays(rng, arrays):
    name = rng.choice(list(arrays))
    a = arrays[name]
    match rng.randrange(6):
        case 0:
            del arrays[name]
        case 1:
            arrays[name] = a.reshape(rng.choice([(-1,), (1, -1), (-1, 1), (1, 1, 1, -1)]))
        case 2:
            arrays[name] = np.zeros(rng.choice([(), (0,), (0, 3), (12,), (6, 4), (1000,)]), a.dtype)
        case 3 if a.size:
            a = arrays[name] = a.copy()
            a.flat[rng.randrange(a.size)] = rng.choice([0, 1, 1e30, np.nan, np.inf, -1]) if a.dtype.kind == "f" else 7
        case 4:
            arrays[rng.choice(["x", "now/weights/99", "", "../x", "loss.npy"])] = a
        case _:
            arrays[name] = np.zeros(a.shape, rng.choice(DTYPES))


def change_bytes(rng, whole):
    at, n = rng.randrange(len(whole)), rng.choice([1, 1, 2, 4, 8, 100])
    piece = whole[at : at + n]
    new = rng.choice(
        [b"", piece * 2, bytes(n), b"\xff" * n, rng.randbytes(n), bytes([piece[0] ^ 1 << rng.randrange(8)])]
    )
    return whole[:at] + new + whole[at + n :]


def changed(rng, kind, whole, meta, arrays):
    """Make one to three changes; unless they are of bytes, the hash is right."""
    n = rng.choice([1, 1, 1, 2, 3])
    if kind == "bytes":
        for _ in range(n):
            whole = change_bytes(rng, whole)
        return whole
    meta, arrays = copy.deepcopy(meta), dict(arrays)
    for _ in range(n):
        change_json(rng, meta) if kind == "json" else change_arrays(rng, arrays)
    with suppress(UnicodeEncodeError):
        meta["sha256"] = archive.digest(meta, arrays)
    members = {f"{k}.npy": npy(a) for k, a in arrays.items()}
    return {"meta.json": json.dumps(meta).encode(), **members}


def write(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
        return
    with zipfile.ZipFile(path, "w") as z:
        for name, value in content.items():
            z.writestr(name, value)


def look(run):
    """Read all that a viewer shows."""
    for name in ("events", "values", "epoch", "steps", "seconds", "rate", "best", "shown_loss"):
        getattr(run, name)
    for k in run.history:
        assert len(run.history[k]) == run.steps
    assert repr(run)
    assert repr(run.history)
    compile(run.as_code(), "script", "exec")


def outcome(path, again, arguments):
    """Load a file and use it; return "refused", "replayed", …"""
    try:
        loaded = Run.load(path, *arguments)
    except ArchiveError as error:
        return "refused" if str(error).isprintable() else "a message of several lines"
    look(loaded)
    loaded.save(again)
    Run.load(again, *arguments)
    try:
        loaded.replay()
        loaded.step()
    except (ReplayMismatch, NotFinite) as error:
        return type(error).__name__
    except RuntimeError as error:
        return "looked at" if not arguments and "loaded to be looked at" in str(error) else str(error)
    return "replayed"


@pytest.fixture(params=["present", "version 1"])
def source(request, tmp_path):
    """A path, the arguments of `Run.load`, and the model."""
    if request.param == "version 1":
        loss, data, found = problem()
        return Path(__file__).parent / "data" / "format_1.npz", (loss, data, found), found
    run, m = steered()
    run.save(tmp_path / "run.npz")
    return tmp_path / "run.npz", (run.loss, run.data, params(m)), m


@pytest.mark.parametrize("kind", ["bytes", "json", "arrays"])
@pytest.mark.filterwarnings(
    "ignore:.*not finite, as it was saved", "ignore:replay may differ", "ignore::RuntimeWarning"
)
def test_a_changed_file_is_refused_or_is_a_run(tmp_path, source, kind):
    original, to_train, m = source
    path, again = tmp_path / "changed", tmp_path / "again"
    whole = original.read_bytes()
    meta, arrays = archive.read(original, "run")
    outcomes = Counter()
    for i in range(TRIES):
        rng = random.Random(f"{SEED} {kind} {i}")
        write(path, changed(rng, kind, whole, meta, arrays))
        before = spoil(m)
        for arguments in (to_train, ()):
            result = outcome(path, again, arguments)
            outcomes[result] += 1
            assert result != "refused" or untouched(m, before)
            before = spoil(m)
    print(kind, dict(outcomes))
    assert outcomes["refused"]
    assert outcomes.keys() <= {"refused", "looked at", "replayed", "ReplayMismatch", "NotFinite"}
