"""Saved runs for tests, and changes of their files."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from fluxmagic import Run, params
from fluxmagic.layers import state
from fluxmagic.optimise import exponential
from fluxmagic.runs import ArchiveError, archive
from fluxmagic.tracker import Param
from tests.runs.problems import network


def steered():
    run, m = network("ADAM")
    run.set(η=0.01)
    run.step(6)
    run.swap("Momentum", ρ=0.5)
    run.step(3)
    run.set(η=exponential(0.1, 0.5, every=7))
    run.step(2)
    run.swap("ADAM")
    run.set(β2=0.9)
    run.step(1)
    return run, m


def load(path, run, m, **options):
    return Run.load(path, run.loss, run.data, params(m), **options)


def spoil(m):
    """Change parameters and statistics; return their bits."""
    for x in changing(m):
        x[...] = x * 0.5 + 1
    return [x.tobytes() for x in changing(m)]


def changing(m):
    """The arrays of parameters and running statistics."""
    return [x.data if isinstance(x, Param) else x for x in state(m) if not isinstance(x, np.random.Generator)]


def untouched(m, before):
    return before == [x.tobytes() for x in changing(m)]


def refused(path, run, m, words=None):
    before = spoil(m)
    with pytest.raises(ArchiveError, match=words) as caught:
        load(path, run, m)
    assert untouched(m, before)
    assert "\n" not in str(caught.value)


def rewrite(path, change, *, sign=True):
    """Rewrite an archive with a change, and with the right hash."""
    meta, content = archive.read(path, "run")
    raw = {f"{k}.npy": npy(a) for k, a in content.items()}
    changed = change(meta, content, raw)
    raw = changed if isinstance(changed, dict) else {f"{k}.npy": npy(a) for k, a in content.items()}
    if sign:
        meta["sha256"] = archive.digest(meta, content)
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("meta.json", json.dumps(meta))
        for name, value in raw.items():
            z.writestr(name, value)


def npy(a):
    buffer = io.BytesIO()
    np.save(buffer, a, allow_pickle=False)
    return buffer.getvalue()
