"""What was measured, as a table, as JSON and as pictures."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.measure import FLOORS, is_floor
from tests.bench.peers import LIBRARIES

GREY = "#808080"  # on white and on black
COLOURS = {
    "fluxmagic": "#d62728",
    "captured": "#e77c8e",
    "fast": "#8c1c3a",
    "torch": "#e07b39",
    "torch fused": "#c9a227",
    "jax": "#4a90d9",
    "autograd": "#8e6bbf",
    "mygrad": "#4aa564",
    "numpy": "#3aa6a6",
    "sklearn": "#7a6a53",
    "products": GREY,
}


def machine() -> dict[str, Any]:
    """The processor, and the versions of all that was timed."""
    names = [l.split(":")[1].strip() for l in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in l]
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "blas": f"{blas['name']} {blas['version']}",
        "versions": versions,
    }


def duration(seconds: float) -> str:
    """Seconds with a fitting unit."""
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def _columns(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths)).rstrip() for line in lines)


def _sign(name: str) -> str:
    return "÷ " if name in FLOORS else "× "


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of ratios, under each its quartiles; a target beside a ratio with ✓ or ✗."""
    own = next(iter(rows[0]["seconds"]))
    names = list(dict.fromkeys(name for row in rows for name in row["ratios"]))
    head = ["", own, *[name if "×" in name or "÷" in name else _sign(name) + name for name in names]]
    lines = [head]
    for row in rows:
        first, second = [row["title"], duration(row["seconds"][own]["median"])], ["", ""]
        for name in names:
            ratio, target = row["ratios"].get(name), row["targets"].get(name)
            text = f"{ratio['median']:.3g}" if ratio else ""
            if target:
                text += f" {'≤' if is_floor(name) else '≥'}{target['bound']:g} {'✓' if target['met'] else '✗'}"
            first.append(text)
            second.append(f"{ratio['q1']:.3g}–{ratio['q3']:.3g}" if ratio else "")
        lines += [first, second]
    return _columns(lines)


def sizes(memory: dict[str, float]) -> str:
    """Peak memory by peer."""
    lines = [
        ["peak memory of a step, 784-128-10", *memory],
        ["", *[f"{size / 2**20:.1f} MiB" for size in memory.values()]],
    ]
    return _columns(lines)


def recordings(seconds: dict[str, float]) -> str:
    """What the first captured steps take beyond ordinary ones."""
    return _columns([["first use of a captured step", ""], *([k, duration(v)] for k, v in seconds.items())])


def steps(growth: dict[str, dict[int, dict[str, float]]]) -> str:
    """Time of a step as the model grows."""
    names = list(growth["depth"][1])
    rows = [
        [f"{kind} {n}", *[duration(seconds[name]) for name in names]]
        for kind, points in growth.items()
        for n, seconds in points.items()
    ]
    return _columns([["", *names], *rows])


def missed(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The targets that are not met, in words."""
    return [
        f"{row['title']}: {name} {row['ratios'][name]['median']:.3g}, to be "
        f"{'at most' if is_floor(name) else 'at least'} {target['bound']:g}"
        for row in rows
        for name, target in row["targets"].items()
        if not target["met"]
    ]


def _axes(axes: Any) -> None:
    axes.patch.set_alpha(0)
    axes.tick_params(which="both", colors=GREY)
    for spine in axes.spines.values():
        spine.set_color(GREY)
    for label in (axes.title, axes.xaxis.label, axes.yaxis.label):
        label.set_color(GREY)


def bars(rows: list[dict[str, Any]], path: Path) -> None:
    """How many times as long as fluxmagic's each peer's step takes, with quartiles."""
    from matplotlib.figure import Figure

    names = [name for name in COLOURS if name != "fluxmagic" and any(name in row["seconds"] for row in rows)]
    figure = Figure(figsize=(15, 5), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    for i, name in enumerate(names):
        measured = [k for k, row in enumerate(rows) if name in row["ratios"]]
        ratios = [rows[k]["ratios"][name] for k in measured]
        # floors are kept the other way round
        m, a, b = (np.array([r[q] ** (-1 if name in FLOORS else 1) for r in ratios]) for q in ("median", "q1", "q3"))
        spread = np.abs(np.sort([a, b], axis=0) - m)
        place = places[measured] + (i - (len(names) - 1) / 2) * 0.8 / len(names)
        axes.bar(place, m - 1, 0.8 / len(names), 1, label=name, color=COLOURS[name], yerr=spread, ecolor=GREY)
    axes.axhline(1, color=COLOURS["fluxmagic"], label="fluxmagic")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axes.set_xticks(places, [row["title"].replace(", ", "\n") for row in rows], fontsize=8)
    axes.set_ylabel("CPU time of a step, in fluxmagic's")
    axes.legend(ncols=len(names) + 1, loc="upper center", fontsize=8, frameon=False, labelcolor=GREY)
    axes.margins(x=0.01, y=0.1)
    _axes(axes)
    figure.savefig(path, dpi=120, transparent=True)


def curves(growth: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    """Step time by depth, width and batch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    for axes, (kind, points) in zip(figure.subplots(1, len(growth)), growth.items()):
        for name in next(iter(points.values())):
            ms = [point[name] * 1e3 for point in points.values()]
            style = "--" if name in FLOORS else "-"
            axes.loglog(list(points), ms, style, marker="o", markersize=3, label=name, color=COLOURS[name])
        axes.set_title({"depth": "layers of 32", "width": "width n-n-10", "batch": "batch of 64-32-10"}[kind])
        axes.set_ylabel("ms a step")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda v, _: f"{v:g}")
        _axes(axes)
    axes.legend(fontsize=8, frameon=False, labelcolor=GREY)
    figure.savefig(path, dpi=120, transparent=True)
