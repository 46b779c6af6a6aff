"""The marks of a curve: epochs, changes, branches, and losses that were not finite.

Labels stand on top of the data and never on each other: what finds no room is left out, older ones first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from fluxmagic.jupyter.formatting import change, gestures
from fluxmagic.jupyter.pictures.axes import BAD, EVENT, INK, PAPER, SMALL, canvas_of, set_plain_text
from fluxmagic.runs import Run

__all__ = ["Mark", "Marks", "find_marks"]


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


class Marks:
    """The marks of axes: `lines`, and `labels`, to be drawn on top of the data."""

    def __init__(self, ax: Axes) -> None:
        self._ax = ax
        self._shown: Sequence[Mark] = ()
        self._labels: dict[Mark, tuple[Annotation, Bbox]] = {}  # with the extent of the text
        self.lines: list[Artist] = []

    @property
    def labels(self) -> list[Annotation]:
        return [label for label, _ in self._labels.values()]

    def show(self, marks: Sequence[Mark], moved: bool) -> bool:
        """Show marks and no others, on axes that were `moved` or not; tell whether anything has changed."""
        changed = marks != self._shown
        if changed:
            self._shown = marks
            self._set_lines()
        if changed or (marks and moved):
            self._place_labels()
        return changed

    def _set_lines(self) -> None:
        for line in self.lines:
            line.remove()
        self.lines = []
        for kind in KINDS:
            segments = [[(m.step, 0.0), (m.step, kind.height)] for m in self._shown if m.kind is kind]
            if segments:
                lines = LineCollection(segments, colors=kind.colour, alpha=kind.alpha, lw=1.2, linestyles=kind.dashes)
                lines.set(
                    transform=self._ax.get_xaxis_transform(), animated=True
                )  # steps, and 0 to 1 from bottom to top
                self.lines.append(self._ax.add_collection(lines, autolim=False))

    def _place_labels(self) -> None:
        """Put each label beside its line, in the first lane where it has room; later ones before earlier ones."""
        before, self._labels = self._labels, {}
        taken: list[Bbox] = []
        for m in sorted((m for m in self._shown if m.label), key=lambda m: m.step, reverse=True):
            label, size = before.pop(m) if m in before else self._make_label(m)
            for place, box in self._places(m, size):
                if box.x0 >= self._ax.bbox.x0 - 4 and not any(box.overlaps(other) for other in taken):
                    label.set_position(place)
                    taken.append(box)
                    self._labels[m] = label, size
                    break
            else:
                label.remove()
        for label, _ in before.values():
            label.remove()

    def _make_label(self, m: Mark) -> tuple[Annotation, Bbox]:
        label = self._ax.annotate(
            "",
            (m.step, 1.0 if m.kind.from_top else 0.0),
            (ASIDE, 0.0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=m.kind.colour,
            fontsize=SMALL,
            va="top" if m.kind.from_top else "bottom",
            annotation_clip=False,
            animated=True,
            zorder=6,
        )
        set_plain_text(label, m.label)
        if m.kind is not EPOCH_END:  # read on any line and page
            label.set(color=PAPER, bbox={"boxstyle": "round,pad=0.15", "fc": m.kind.colour, "ec": "none"})
        return label, label.get_window_extent(canvas_of(self._ax).get_renderer())

    def _places(self, m: Mark, size: Bbox) -> Iterator[tuple[tuple[float, float], Bbox]]:
        """Give the places for a label, lane by lane: at the right of its line, or at the left where the axes end."""
        point = self._ax.figure.dpi / 72
        line = self._ax.transData.transform((m.step, 0))[0]
        x = line + ASIDE * point
        if x + size.width > self._ax.bbox.x1:
            x = line - ASIDE * point - size.width
        for lane in range(LANES if m.kind.from_top else 1):
            y = (lane + 0.25) * LANE
            low = self._ax.bbox.y1 - y * point - size.height if m.kind.from_top else self._ax.bbox.y0 + y * point
            box = Bbox.from_bounds(x, low, size.width, size.height).padded(2)
            yield ((x - line) / point, -y if m.kind.from_top else y), box


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
