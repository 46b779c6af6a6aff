"""The marks of a curve: epochs, changes, branches, and losses that were not finite.

Labels stand on top of the data and never on each other: what finds no room is left out, older ones first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.collections import LineCollection
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from fluxmagic.jupyter.formatting import change, gestures
from fluxmagic.jupyter.pictures.axes import BAD, EVENT, INK, PAPER, SMALL, canvas_of, set_plain_text
from fluxmagic.runs import Run

__all__ = ["Mark", "draw_marks", "find_marks"]


class Kind(NamedTuple):
    """How marks of a kind are drawn; heights are shares of the axes' height."""

    colour: str
    height: float
    alpha: float
    dashes: str | tuple[int, tuple[int, int]]
    from_top: bool  # the labels


EPOCH_END = Kind(INK, 0.04, 0.9, "-", False)
CHANGE = Kind(EVENT, 1.0, 0.8, (0, (3, 2)), True)
BRANCH = Kind("#5d646b", 1.0, 0.9, (0, (1, 2)), True)
NOT_FINITE = Kind(BAD, 1.0, 0.9, "-", True)
KINDS = (EPOCH_END, CHANGE, BRANCH, NOT_FINITE)
LANES = 4  # rows of labels
LANE = 1.55 * SMALL  # points
ASIDE = 4.0  # points, between a line and its label


class Mark(NamedTuple):
    """A line at a step, with a label or "" beside it."""

    kind: Kind
    step: int
    label: str


def find_marks(run: Run, left: float, right: float) -> list[Mark]:
    """Give the marks of a run on an axis from one step to another, each kind in order of steps."""
    record = run.record
    starts = [0] if record.stepwise or run.epochs == 1 else record.epochs
    marks = [Mark(EPOCH_END, s, f"epoch {n}") for s, n in _epoch_ticks(starts, run.steps, right - left)]
    marks += [Mark(CHANGE, step, label) for step, label in _changes(run, right - left)]
    marks += [Mark(BRANCH, s, name) for s, name in _branch_points(run)]
    marks += [Mark(NOT_FINITE, s, "") for s in record.rejected[:-1]]
    marks += [Mark(NOT_FINITE, s, "not finite") for s in record.rejected[-1:]]
    return [m for m in marks if left <= m.step <= right]


def draw_marks(ax: Axes, marks: Sequence[Mark]) -> tuple[list[Artist], list[Annotation]]:
    """Add lines and labels to axes, animated: `draw` of the figure leaves them out."""
    across = ax.get_xaxis_transform()  # steps, and 0 to 1 from bottom to top
    artists: list[Artist] = []
    for kind in KINDS:
        ours = [m for m in marks if m.kind is kind]
        if ours:
            segments = [[(m.step, 0.0), (m.step, kind.height)] for m in ours]
            lines = LineCollection(segments, colors=kind.colour, alpha=kind.alpha, lw=1.2, linestyles=kind.dashes)
            lines.set_transform(across)
            artists.append(ax.add_collection(lines, autolim=False))
    labels = _place_labels(ax, [m for m in marks if m.label])
    for artist in (*artists, *labels):
        artist.set_animated(True)
    return artists, labels


def _place_labels(ax: Axes, marks: Sequence[Mark]) -> list[Annotation]:
    """Put each label beside its line, in the first lane where it has room; later ones before earlier ones."""
    renderer = canvas_of(ax).get_renderer()
    taken: list[Bbox] = []
    placed = []
    for m in sorted(marks, key=lambda m: m.step, reverse=True):
        label = ax.annotate(
            "",
            (m.step, 1.0 if m.kind.from_top else 0.0),
            xytext=(ASIDE, 0.0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=m.kind.colour,
            fontsize=SMALL,
            va="top" if m.kind.from_top else "bottom",
            annotation_clip=False,
            zorder=6,
        )
        set_plain_text(label, m.label)
        if m.kind is not EPOCH_END:  # read on any line and page
            label.set(color=PAPER, bbox={"boxstyle": "round,pad=0.15", "fc": m.kind.colour, "ec": "none"})
        for lane in range(LANES if m.kind.from_top else 1):
            _move(label, ax, renderer, (lane + 0.25) * LANE * (-1 if m.kind.from_top else 1))
            box = label.get_window_extent(renderer).padded(2)
            if box.x0 >= ax.bbox.x0 - 4 and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                placed.append(label)
                break
        else:
            label.remove()
    return placed


def _move(label: Annotation, ax: Axes, renderer: RendererAgg, y: float) -> None:
    """Put a label at the right of its line, or at the left where the axes end."""
    label.set(position=(ASIDE, y), ha="left")
    if label.get_window_extent(renderer).x1 > ax.bbox.x1:
        label.set(position=(-ASIDE, y), ha="right")


def _epoch_ticks(starts: Sequence[int], steps: int, extent: float) -> list[tuple[int, int]]:
    """Give every first, second, fifth, tenth … epoch, so that labels have room: (start, number)."""
    if len(starts) < 2:
        return []
    apart = max(extent / 6, 1.0)
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


def _changes(run: Run, extent: float) -> list[tuple[int, str]]:
    """Give gestures with their labels; what was changed at one step has one label: (step, label)."""
    labels: dict[int, list[str]] = {}
    for e in gestures(run.record.gestures, extent):
        labels.setdefault(e.step, []).append(change(e, run.opt_class))
    return [(step, ", ".join(words)) for step, words in labels.items()]
