"""Values and gradients side by side with PyTorch's own database of operations: `python -m tests.bench.operations`.

Every float64 sample that the database has for an operation of `operation_table` is computed by both libraries.  The
gradients of Σ (result × fixed random weights) are compared for every input that PyTorch differentiates.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fluxmagic as fm
from fluxmagic.tracker import back, data, istracked, param
from tests.bench.operation_table import DETERMINED, FIRST, OPERATIONS, PLACES, REASONS

with warnings.catch_warnings():  # optional parts of it that are not installed
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

RTOL = 1e-7


def listed(name: str, note: str) -> str | None:
    """The reason for a difference, if there is one."""
    return next((reason for pattern, text, reason in REASONS if fnmatch(name, pattern) and text in note), None)


def listed_places(name: str, plain: tuple[Any, ...], ours: Any, theirs: Any) -> str | None:
    """The reason for a difference that is in the listed places alone."""
    if name not in PLACES:
        return None
    places, reason = PLACES[name]
    x, args, kwargs = plain
    where = np.asarray(places(x, *args, **kwargs))
    return reason if where.shape == np.shape(ours) and not close(np.where(where, theirs, ours), theirs) else None


KINDS = ("equal", "no counterpart", "listed", "different")


@dataclasses.dataclass
class Outcome:
    """What became of a sample."""

    kind: str
    note: str = ""


class Leaves:
    """A sample's tensors, turned into arrays, parameters where they are differentiated; in order."""

    def __init__(self, tracked: bool) -> None:
        self.tracked = tracked
        self.params: list[Any] = []

    def __call__(self, x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            array = x.detach().numpy()
            if not (self.tracked and x.requires_grad):
                return array
            self.params.append(param(array))
            return self.params[-1]
        if isinstance(x, torch.dtype):
            return {torch.float64: np.float64, torch.float32: np.float32}.get(x, x)
        if isinstance(x, (list, tuple)):
            return type(x)(map(self, x))
        return {k: self(v) for k, v in x.items()} if isinstance(x, dict) else x


def leaf(x: Any) -> Any:
    """A sample whose tensors are leaves of PyTorch's graph, with the same memory layout."""
    if isinstance(x, torch.Tensor):
        return x.detach().requires_grad_(x.requires_grad)
    if isinstance(x, (list, tuple)):
        return type(x)(map(leaf, x))
    return {k: leaf(v) for k, v in x.items()} if isinstance(x, dict) else x


def tensors(x: Any) -> Iterator[torch.Tensor]:
    """The tensors that PyTorch differentiates, in the order of `Leaves`."""
    if isinstance(x, torch.Tensor):
        if x.requires_grad:
            yield x
    elif isinstance(x, (list, tuple)):
        for part in x:
            yield from tensors(part)
    elif isinstance(x, dict):
        yield from tensors(list(x.values()))


def flat(y: Any) -> list[Any]:
    """All results of an operation."""
    return [part for each in y for part in flat(each)] if isinstance(y, (list, tuple)) else [y]


def close(ours: Any, theirs: Any, single: bool = False) -> str:
    """Nothing, or what is different; to the digits of float32, if single."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        return f"shape {ours.shape}, PyTorch {theirs.shape}"
    largest = np.abs(theirs[np.isfinite(theirs)], dtype=np.float64).max(initial=1.0)
    rtol, atol = (1e-4, 1e-5) if single else (RTOL, 1e-12)
    bad = ~np.isclose(ours, theirs, rtol, atol * largest, equal_nan=True)  # sums round at the size of their terms
    return f"{bad.sum()} of {bad.size}: {ours[bad][:3]}, PyTorch {theirs[bad][:3]}" if bad.any() else ""


def total(ys: list[Any], weights: list[Any]) -> Any:
    """Σ (result × weights), over all results that have a gradient."""
    terms = [(y * w).sum() for y, w in zip(ys, weights, strict=True)]
    return sum(terms[1:], terms[0])


PACKAGE = Path(fm.__file__).parent


def is_ours(error: Exception) -> bool:
    """Whether an error of a call on plain arrays comes out of the package, rather than out of NumPy or SciPy."""
    return any(PACKAGE in Path(f.filename).parents for f in traceback.extract_tb(error.__traceback__))


class Check:
    """Compares the results of one sample, and keeps the outcome."""

    def __init__(self, name: str, plain: tuple[Any, ...], single: bool) -> None:
        self.name, self.plain, self.single = name, plain, single
        self.outcome = Outcome("equal")

    def passes(self, what: str, ours: Any, theirs: Any) -> bool:
        """Tell whether two results agree, or differ for a listed reason."""
        note = close(ours, theirs, self.single)
        if not note:
            return True
        reason = listed_places(self.name, self.plain, ours, theirs) or listed(self.name, note)
        self.outcome = Outcome("listed", reason) if reason else Outcome("different", f"{what}: {note}")
        return reason is not None


def failed(name: str, note: str) -> Outcome:
    """The outcome of a call that raised an error."""
    reason = listed(name, note)
    return Outcome("listed", reason) if reason else Outcome("different", note)


def call_plain(name: str, plain: tuple[Any, ...]) -> Outcome | None:
    """Call an operation with plain arrays; give the outcome if there is nothing to compare."""
    x, args, kwargs = plain
    try:
        with np.errstate(all="ignore"):
            result = OPERATIONS[name](x, *args, **kwargs)
    except Exception as error:
        whose = "fluxmagic" if is_ours(error) else "NumPy"
        note = f"{whose}: {type(error).__name__}: {error}"
        if whose == "NumPy" and isinstance(error, (ValueError, IndexError, np.linalg.LinAlgError)):
            return Outcome("no counterpart", note)
        return failed(name, note)
    return Outcome("no counterpart", "no such form") if result is None else None


def call_tracked(name: str, given: tuple[Any, ...], sample: Any) -> list[Any]:
    """The results of an operation that PyTorch's are compared with."""
    x, args, kwargs = given
    y = OPERATIONS[name](x, *args, **kwargs)
    if determined := DETERMINED.get(sample.output_process_fn_grad.__name__):
        y = determined(*y)
    return flat(y)


def run(name: str, op: Any, sample: Any) -> Outcome:
    """Carry out a sample by both, and compare."""
    given = leaf((sample.input, sample.args, sample.kwargs))
    if any(t.dtype not in (torch.float32, torch.float64) for t in tensors(given)):
        return Outcome("no counterpart", "a gradient of complex or short numbers")
    plain = Leaves(tracked=False)(given)
    if outcome := call_plain(name, plain):
        return outcome
    result = op(given[0], *given[1], **given[2])
    if result is NotImplemented:
        return Outcome("no counterpart", "PyTorch: not implemented")
    theirs = flat(sample.output_process_fn_grad(result))
    theirs = theirs[:1] if name in FIRST else theirs
    check = Check(name, plain, any(t.dtype == torch.float32 for t in tensors(given)))
    leaves = Leaves(tracked=True)
    try:
        with np.errstate(all="ignore"):
            ours = call_tracked(name, leaves(given), sample)
            if len(ours) != len(theirs):
                return Outcome("different", f"{len(ours)} results, PyTorch {len(theirs)}")
            for a, b in zip(ours, theirs, strict=True):
                if not check.passes("value", data(a), b.detach().numpy() if isinstance(b, torch.Tensor) else b):
                    return check.outcome
            return compare_gradients(check, ours, theirs, leaves.params, list(tensors(given)))
    except Exception as error:
        return failed(name, f"{type(error).__name__}: {error}")


def compare_gradients(
    check: Check, ours: list[Any], theirs: list[Any], params: list[Any], wanted: list[Any]
) -> Outcome:
    """Compare the gradients of Σ (result × fixed random weights) with respect to every input."""
    pairs = [
        (a, b)
        for a, b in zip(ours, theirs, strict=True)
        if isinstance(b, torch.Tensor) and b.requires_grad and a.shape == b.shape
    ]
    if not pairs or not wanted:
        return check.outcome
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=tuple(b.shape)) for _, b in pairs]
    l = total([a for a, _ in pairs], weights)
    if istracked(l):
        back(l)
    loss = total([b for _, b in pairs], [torch.from_numpy(np.asarray(w)) for w in weights])
    try:
        gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    except RuntimeError as error:
        return Outcome("no counterpart", f"PyTorch: {error}")
    for k, (p, δ) in enumerate(zip(params, gradients, strict=True)):
        if not check.passes(f"gradient {k}", p.grad, np.zeros(p.shape) if δ is None else δ.numpy(force=True)):
            break
    return check.outcome


def made(samples: Iterator[Any]) -> Iterator[Any]:
    """The samples, up to the first that the database cannot make itself."""
    try:
        yield from samples
    except Exception as error:
        print(f"    the database stops: {type(error).__name__}: {error}"[:160])


def describe(x: Any) -> str:
    """Shapes and settings of a sample, short."""
    if isinstance(x, torch.Tensor):
        return str(tuple(x.shape))
    if isinstance(x, (list, tuple)):
        return f"[{', '.join(map(describe, x))}]"
    return "{" + ", ".join(f"{k}={describe(v)}" for k, v in x.items()) + "}" if isinstance(x, dict) else repr(x)


def main() -> None:
    """Print the table; exit with 1 if something is different that is not listed with its reason."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.operations", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="operations, by PyTorch's name, with commas between")
    parser.add_argument("--quick", action="store_true", help="without the database's reference samples")
    parser.add_argument("--verbose", action="store_true", help="say why samples have no counterpart")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    start = time.perf_counter()
    entries = {op.formatted_name: op for op in op_db}
    only = options.only.split(",") if options.only else sorted(OPERATIONS)
    totals: Counter[str] = Counter()
    print(f"{'operation':40} {'samples':>7} {'equal':>6} {'no counterpart':>15} {'listed':>7} {'different':>10}")
    for name in only:
        op = entries.get(name)
        if op is None:
            print(f"{name:40} not in this version's database")
            continue
        counts: Counter[str] = Counter()
        notes: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        gradient = op.supports_autograd and torch.float64 in op.supported_backward_dtypes("cpu")
        samples = op.sample_inputs if options.quick else op.reference_inputs
        for sample in made(samples("cpu", torch.float64, requires_grad=gradient)):
            outcome = run(name, op, sample)
            counts[outcome.kind] += 1
            if outcome.kind == "listed":
                reasons[outcome.note] += 1
            if outcome.kind == "different" or (options.verbose and outcome.note):
                given = describe([sample.input, *sample.args]) + describe(sample.kwargs)
                notes[f"    {outcome.kind}: {given} {outcome.note}"] += 1
        totals += counts
        figures = [counts[kind] for kind in KINDS]
        print(f"{name:40} {sum(figures):7} {figures[0]:6} {figures[1]:15} {figures[2]:7} {figures[3]:10}", flush=True)
        for note in list(notes)[:12]:
            print(note[:300])
        for reason, n in reasons.items():
            print(f"    {n} listed: {reason}")
    figures = [totals[kind] for kind in KINDS]
    print(f"{'all':40} {sum(figures):7} {figures[0]:6} {figures[1]:15} {figures[2]:7} {figures[3]:10}")
    without = sorted(set(entries) - set(OPERATIONS))
    print(f"{len(without)} of the database's {len(entries)} operations have no line here (--verbose lists them)")
    if options.verbose:
        print("    " + " ".join(without))
    print(f"torch {torch.__version__}, NumPy {np.__version__}, {time.perf_counter() - start:.0f} s")
    sys.exit(totals["different"] > 0)


if __name__ == "__main__":
    main()
