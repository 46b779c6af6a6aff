"""The marks of a curve: epochs, changes, branches, and losses that were not finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from fluxmagic.jupyter.axes import BAD, EVENT, INK, set_plain_text, shorten
from fluxmagic.jupyter.formatting import format_value
from fluxmagic.runs import Event, Run

__all__ = ["Mark", "draw_marks", "find_marks"]


class Kind(NamedTuple):
    """How marks of a kind are drawn; heights are shares of the axes' height."""

    colour: str
    height: float
    alpha: float
    dashes: str | tuple[int, tuple[int, int]]
    label_height: float
    label: Mapping[str, Any]


UPRIGHT = {"fontsize": 8, "rotation": 90, "ha": "right"}
EPOCH_END = Kind(INK, 0.035, 0.9, "-", -0.105, {"fontsize": 7, "ha": "center", "va": "top"})
CHANGE = Kind(EVENT, 1.0, 0.75, (0, (3, 2)), 0.98, {**UPRIGHT, "va": "top"})
BRANCH = Kind(INK, 1.0, 0.9, (0, (1, 2)), 0.06, {**UPRIGHT, "va": "bottom"})
NOT_FINITE = Kind(BAD, 1.0, 0.9, "-", 0.5, {**UPRIGHT, "va": "center"})
KINDS = (EPOCH_END, CHANGE, BRANCH, NOT_FINITE)


class Mark(NamedTuple):
    """A line at a step, with a label or "" beside it."""

    kind: Kind
    step: int
    label: str


def find_marks(run: Run, end: float) -> list[Mark]:
    """Give the marks of a run on an axis that ends at a step."""
    record = run.record
    starts = [0] if record.stepwise or run.epochs == 1 else record.epochs
    # near the end stands the axis's own label
    marks = [
        Mark(EPOCH_END, s, f"epoch {n}" if s < 0.92 * end else "") for s, n in _epoch_ticks(starts, run.steps, end)
    ]
    marks += [Mark(CHANGE, s, label) for s, label in _merged_events(record.events, end)]
    marks += [Mark(BRANCH, s, name) for s, name in _branch_points(run)]
    marks += [Mark(NOT_FINITE, s, "") for s in record.rejected[:-1]]
    return marks + [Mark(NOT_FINITE, s, "not finite") for s in record.rejected[-1:]]


def draw_marks(ax: Axes, marks: Sequence[Mark]) -> list[Artist]:
    """Add marks to axes, animated: `draw` of the figure leaves them out."""
    across = ax.get_xaxis_transform()  # steps, and 0 to 1 from bottom to top
    artists: list[Artist] = []
    for kind in KINDS:
        ours = [m for m in marks if m.kind is kind]
        if not ours:
            continue
        segments = [[(m.step, 0.0), (m.step, kind.height)] for m in ours]
        lines = LineCollection(segments, colors=kind.colour, alpha=kind.alpha, lw=1.0, linestyles=kind.dashes)
        lines.set_transform(across)
        artists.append(ax.add_collection(lines, autolim=False))
        for m in ours:
            if m.label:
                text = ax.text(m.step, kind.label_height, "", color=kind.colour, transform=across, **kind.label)
                artists.append(set_plain_text(text, m.label))
    for artist in artists:
        artist.set_animated(True)
    return artists


def _epoch_ticks(starts: Sequence[int], steps: int, end: float) -> list[tuple[int, int]]:
    """Give every first, second, fifth, tenth … epoch, so that labels have room: (start, number)."""
    if len(starts) < 2:
        return []
    apart = max(end / 8, 1.0)
    mean = max(starts[-1] / (len(starts) - 1), 1e-9)
    stride = next(k * 10**p for p in range(12) for k in (1, 2, 5) if k * 10**p * mean >= apart)
    return [(starts[i], i + 1) for i in range(stride, len(starts), stride) if starts[i] < steps]


def _branch_points(run: Run) -> list[tuple[int, str]]:
    """Give where a run left the one that it is a branch of, and that one its own: (step, name)."""
    found = []
    end = run.steps
    while run.parent is not None:
        if run.branched_at <= end:
            found.append((run.branched_at, run.name or "branch"))
        end = min(end, run.branched_at)
        run = run.parent
    return found


def _merged_events(events: Sequence[Event], end: float) -> list[tuple[int, str]]:
    """Merge events that would be drawn on top of each other: (step, label)."""
    groups: list[tuple[int, dict[str, list[Any]]]] = []
    for step, name, old, new in events:
        if not groups or step - groups[-1][0] > end / 70:
            groups.append((step, {}))
        groups[-1][1].setdefault(name, [old, new])[1] = new
    return [(step, _event_label(changes)) for step, changes in groups]


def _event_label(changes: Mapping[str, Sequence[Any]]) -> str:
    words = []
    for name, (old, new) in changes.items():
        if name == "opt":
            words.append(f"{old} → {new}")
        else:  # among others there is room for the new value only
            before = f"{format_value(old)} → " if len(changes) == 1 else ""
            words.append(f"{name} {before}{format_value(new)}")
    return shorten(", ".join(words))
