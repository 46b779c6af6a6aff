"""The curve of a run: one Agg figure, drawn often and cheaply.

What moves (lines) is drawn onto a cached background (axes, legend, earlier runs, marks), and what is shown is
at most 1,000 points a line, however long the run.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from fluxmagic.jupyter.png import png
from fluxmagic.jupyter.text import dial
from fluxmagic.runs import Run

__all__ = ["Comparison", "Curve", "Decimated", "compare"]

POINTS = 1000  # drawn of a line, at most
SIZE = (8.6, 3.6)  # inches
DPI = 100
LABEL = 46  # characters that fit beside a mark
DOTS = 60  # epochs until which each has a dot
SHARP = 160  # dots an inch of the picture that stays

# On white and on black alike: nothing lighter or darker than this is used, and the background is transparent.
INK = "#808890"
LOSS = "#3b82d6"
VALID = "#cf6a12"
METRICS = ("#2f9e62", "#a45fd0", "#a38020", "#d6568a")
TURN = "#c2569e"
BAD = "#e0443e"

Values = Callable[[slice], np.ndarray]


class Decimated:
    """A growing series as few bins: smallest, largest and mean value of each.

    A bin has 2^k values; when there are too many, neighbours are joined.  What was binned is not looked at
    again, so that keeping up costs as much as there is news.

    Parameters
    ----------
    bins : int
        At most so many; each gives two points of the min-max line.
    """

    def __init__(self, bins: int = POINTS // 2) -> None:
        self.bins = bins
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.n = 0
        self.size = 1
        self.x = np.empty(0)
        self.low = np.empty(0)
        self.high = np.empty(0)
        self.mean = np.empty(0)
        self.count = np.empty(0)

    def update(self, n: int, values: Values, places: Values | None = None) -> None:
        """Take in what has come.

        Parameters
        ----------
        n : int
            How many values there are now.
        values : callable
            Of a slice, to an array of those values.
        places : callable, optional
            Of a slice, to where they lie; default: 1, 2, ….
        """
        if n < self.n:
            self.clear()
        if n == self.n:
            return
        full = self.n // self.size
        while n > self.bins * self.size:
            full //= 2
            self._join(full)
            self.size *= 2
        start = full * self.size
        v = np.asarray(values(slice(start, n)), np.float64)
        x = np.arange(start + 1, n + 1, dtype=np.float64) if places is None else places(slice(start, n))
        pad = -len(v) % self.size
        v = np.append(np.where(np.isfinite(v), v, np.nan), np.full(pad, np.nan)).reshape(-1, self.size)
        x = np.append(x, np.full(pad, x[-1])).reshape(-1, self.size)
        finite = np.isfinite(v)
        count = finite.sum(1)
        keep = slice(0, full)
        self.x = np.append(self.x[keep], (x[:, 0] + x[:, -1]) / 2)
        self.low = np.append(self.low[keep], np.fmin.reduce(v, 1))
        self.high = np.append(self.high[keep], np.fmax.reduce(v, 1))
        total = np.where(finite, v, 0.0).sum(1)
        self.mean = np.append(self.mean[keep], np.divide(total, count, np.full(len(v), np.nan), where=count > 0))
        self.count = np.append(self.count[keep], count)
        self.n = n

    def _join(self, pairs: int) -> None:
        a, b = slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)
        count = self.count[a] + self.count[b]
        total = np.nan_to_num(self.mean[a]) * self.count[a] + np.nan_to_num(self.mean[b]) * self.count[b]
        self.mean = np.divide(total, count, np.full(pairs, np.nan), where=count > 0)
        self.x = (self.x[a] + self.x[b]) / 2
        self.low = np.fmin(self.low[a], self.low[b])
        self.high = np.fmax(self.high[a], self.high[b])
        self.count = count

    def line(self) -> tuple[np.ndarray, np.ndarray]:
        """The min-max line: at most two points a bin."""
        if self.size == 1:
            return self.x, self.mean
        return np.repeat(self.x, 2), np.stack([self.low, self.high], 1).ravel()

    def smooth(self, β: float) -> tuple[np.ndarray, np.ndarray]:
        """Exponential mean with a memory of β a step, without the pull towards a first value."""
        out = np.full(len(self.x), np.nan)
        s = weight = 0.0
        keep = β**self.count
        for i, (k, m) in enumerate(zip(keep.tolist(), self.mean.tolist())):
            if k < 1 or m == m:
                s = k * s + (1 - k) * m if m == m else s
                weight = k * weight + (1 - k)
            if weight:
                out[i] = s / weight
        return self.x, out


class _Track:
    """The decimated record of a run: its loss and what was checked at the end of epochs."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.loss = Decimated()
        self.checks: dict[str, Decimated] = {k: Decimated() for k in _checked(run)}
        self._last = math.nan

    def update(self) -> None:
        record = self.run.record
        n = len(record.seconds)
        if self.loss.n and (n < self.loss.n or record.seconds[self.loss.n - 1] != self._last):
            self.loss.clear()  # a run that went back has other times
            for d in self.checks.values():
                d.clear()
        self.loss.update(n, lambda rows: np.array(record.loss[rows], np.float64))
        self._last = record.seconds[n - 1] if n else math.nan
        checks = record.checks

        def steps(rows: slice) -> np.ndarray:
            return np.array([step for step, _ in checks[rows]], np.float64)

        def column(name: str) -> Callable[[slice], np.ndarray]:
            def values(rows: slice) -> np.ndarray:
                return np.array([found.get(name, math.nan) for _, found in checks[rows]], np.float64)

            return values

        for name, d in self.checks.items():
            d.update(len(checks), column(name), steps)


def _loss(run: Run | Decimated) -> Decimated:
    if isinstance(run, Decimated):
        return run
    track = _Track(run)
    track.update()
    return track.loss


def _checked(run: Run) -> list[str]:
    return [*(["valid"] if run.valid is not None else []), *run.metrics]


class Curve:
    """The curve of a run.

    Parameters
    ----------
    run : Run
    earlier : iterable of Run or Decimated
        Runs, or their losses, to be drawn in grey behind it.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        Drawn with Agg; `pyplot` does not know it.
    log : bool
        Whether the loss axis is logarithmic.
    smoothing : float
        The share of the smoothed loss that is kept from step to step, in [0, 1).

    Examples
    --------
    >>> from fluxmagic import SGD, Curve, Run, param
    >>> W = param(2.0)
    >>> run = Run(lambda x: (W * x) ** 2, [1.0] * 5, SGD([W], 0.1))
    >>> run.train()
    >>> picture = Curve(run)
    """

    def __init__(self, run: Run, earlier: Iterable[Run | Decimated] = ()) -> None:
        self.run = run
        self.log = False
        self.smoothing = 0.9
        self._track = _Track(run)
        self._earlier = [d for d in map(_loss, (r for r in earlier if r is not run)) if d.n]
        with matplotlib.rc_context():
            matplotlib.rcdefaults()  # a user's own style is for the user's own figures
            self.figure, self._ax = _axes()
            self._right = None
            names = list(self._track.checks)
            if any(k != "valid" for k in names):
                self._right = self._ax.twinx()
                _plain(self._right)
                self._right.tick_params(left=False)
            self._raw = self._line(self._ax, LOSS, alpha=0.35, lw=0.9)
            self._checks = {}
            colours = iter(METRICS * len(names))
            for k in names:
                ax = self._ax if k == "valid" else self._right
                colour = VALID if k == "valid" else next(colours)
                self._checks[k] = self._line(ax, colour, lw=1.6, marker=".", ms=4)
            self._smooth = self._line(self._ax, LOSS, lw=1.8)
            shown = {"loss": self._smooth, **self._checks}
            for loss in self._earlier:
                line = self._ax.plot(*loss.smooth(self.smoothing), color=INK, alpha=0.45, lw=1.2, zorder=1)[0]
                shown["earlier"] = line
            self._legend(shown)
        self._marks: list[Any] = []
        self._mark_key: Any = None
        self._limits: tuple[float, ...] = ()
        self._axes_drawn: Any = None
        self._background: Any = None
        self._settings: tuple[Any, ...] = ()

    @staticmethod
    def _line(ax: Any, colour: str, **style: Any) -> Any:
        line = ax.plot([], [], color=colour, solid_joinstyle="round", **style)[0]
        line.set_animated(True)
        return line

    def _legend(self, shown: dict[str, Any]) -> None:
        legend = self._ax.legend(
            list(shown.values()),
            ["x"] * len(shown),  # a label that begins with "_" would be left out
            loc="lower left",
            bbox_to_anchor=(-0.01, 0.99),
            ncols=8,
            frameon=False,
            labelcolor=INK,
            fontsize=9,
            handlelength=1.4,
            columnspacing=1.4,
        )
        for handle in legend.legend_handles:
            handle.set_animated(False)
        _write(legend, shown)

    @property
    def loss(self) -> Decimated:
        """The loss as it is drawn, as far as it has come."""
        self._track.update()
        return self._track.loss

    # -- what is shown -------------------------------------------------------------------------------------

    def _update(self) -> None:
        track = self._track
        track.update()
        self._raw.set_data(*track.loss.line())
        self._smooth.set_data(*track.loss.smooth(self.smoothing))
        for k, d in track.checks.items():
            self._checks[k].set_data(*d.line())
            self._checks[k].set_marker("." if d.n <= DOTS else "")

    def _wanted(self) -> tuple[float, float, float, float, float]:
        """Right end of the steps; bottom and top of the loss, and of the metrics."""
        loss = [self._smooth.get_ydata()]
        loss += [d.smooth(self.smoothing)[1] for d in self._earlier]
        raw = np.concatenate([self._track.loss.low, self._track.loss.high])
        raw = raw[np.isfinite(raw)]
        if len(raw):
            loss.append(np.quantile(raw, [0.01, 0.99]))  # a single spike is cut off
        if "valid" in self._checks:
            loss.append(self._checks["valid"].get_ydata())
        metrics = [np.asarray(line.get_ydata()) for k, line in self._checks.items() if k != "valid"]
        end = max([self.run.steps, 1, *(d.n for d in self._earlier)])
        return (float(end), *_range(loss, self.log), *_range(metrics, False))

    def _set_limits(self, final: bool = False) -> bool:
        """Let the axes hold what there is, moving them seldom; whether they were moved."""
        end, low, high, bottom, top = self._wanted()
        settings = (self.log, self.smoothing)
        if self._limits and not final and settings == self._settings:
            x, y0, y1, r0, r1 = self._limits
            inside = end <= x and y0 <= low and high <= y1 and r0 <= bottom and top <= r1
            if inside and _span(low, high, self.log) > 0.4 * _span(y0, y1, self.log):
                return False
        total = self.run.total_steps or 0
        if not final:
            end = float(total) if self.run.steps * 4 > total > 0 else end * 1.8 + 40
            end = max(end, float(self.run.steps))
        elif end < 2:
            end = 2.0
        self._settings = settings
        self._ax.set_yscale("log" if self.log else "linear")
        self._ax.set_xlim(-0.01 * end, end)
        low, high = _wider(low, high, self.log)
        self._ax.set_ylim(low, high)
        if self._right is not None:
            bottom, top = _wider(bottom, top, False)
            self._right.set_ylim(bottom, top)
        self._limits = (end, low, high, bottom, top)
        return True

    # -- marks ---------------------------------------------------------------------------------------------

    def _set_marks(self) -> bool:
        """A mark for each turn and swap, branch, loss that was not finite, and epochs; whether they changed."""
        record = self.run.record
        end = self._limits[0]
        epochs = _thin([0] if record.stepwise or self.run.epochs == 1 else record.epochs, self.run.steps, end)
        parted = _parted(self.run)
        turned = (len(record.events), record.events[-1:])
        key = (self._limits, *turned, len(record.refused), tuple(epochs), tuple(parted))
        if key == self._mark_key:
            return False
        self._mark_key = key
        for artist in self._marks:
            artist.remove()
        ax = self._ax
        across = ax.get_xaxis_transform()  # steps, and 0 to 1 from bottom to top
        self._marks = []

        def lines(steps: Sequence[float], colour: str, top: float, alpha: float, style: Any) -> None:
            segments = [[(s, 0.0), (s, top)] for s in steps]
            made = LineCollection(segments, colors=colour, alpha=alpha, lw=1.0, linestyles=style, transform=across)
            self._marks.append(ax.add_collection(made, autolim=False))

        def text(x: float, y: float, words: str, colour: str, **style: Any) -> None:
            self._marks.append(_plain_text(ax.text(x, y, "", color=colour, transform=across, **style), words))

        if epochs:
            lines([s for s, _ in epochs], INK, 0.035, 0.9, "-")
            for step, number in epochs:
                if step < 0.92 * end:  # there is the axis's own label
                    text(step, -0.105, f"epoch {number}", INK, fontsize=7, ha="center", va="top")
        turns = _joined([(e.step, e.name, e.old, e.new) for e in record.events], end)
        if turns:
            lines([s for s, _ in turns], TURN, 1.0, 0.75, (0, (3, 2)))
            for step, label in turns:
                text(step, 0.98, label, TURN, fontsize=8, rotation=90, ha="right", va="top")
        if parted:
            lines([s for s, _ in parted], INK, 1.0, 0.9, (0, (1, 2)))
            for step, name in parted:
                text(step, 0.06, name, INK, fontsize=8, rotation=90, ha="right", va="bottom")
        if record.refused:
            lines(record.refused, BAD, 1.0, 0.9, "-")
            text(record.refused[-1], 0.5, "not finite", BAD, fontsize=8, rotation=90, ha="right", va="center")
        for artist in self._marks:
            artist.set_animated(True)
        return True

    # -- drawing -------------------------------------------------------------------------------------------

    @np.errstate(all="ignore")
    def frame(self) -> bytes:
        """The curve as it is now, as a PNG; cheap unless the axes have to move."""
        self._update()
        figure = self.figure
        canvas: Any = figure.canvas
        fresh = self._background is None
        if self._set_limits() or fresh:
            canvas.draw()
            self._axes_drawn = canvas.copy_from_bbox(figure.bbox)
            fresh = True
        if self._set_marks() or fresh:
            canvas.restore_region(self._axes_drawn)
            for artist in self._marks:
                self._ax.draw_artist(artist)
            self._background = canvas.copy_from_bbox(figure.bbox)
        canvas.restore_region(self._background)
        for line in (self._raw, self._smooth, *self._checks.values()):
            line.axes.draw_artist(line)
        return png(np.asarray(canvas.buffer_rgba()))

    @np.errstate(all="ignore")
    def picture(self) -> bytes:
        """The curve as it stays, as a PNG: sharper, and the axes close around it."""
        self._update()
        self._set_limits(final=True)
        self._set_marks()
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=SHARP)
        self._background = None
        self._limits = ()
        return file.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return self.picture(), SHOWN

    def __repr__(self) -> str:
        return f"Curve({self.run!r})"


SHOWN = {"width": round(SIZE[0] * DPI), "height": round(SIZE[1] * DPI)}
"""In points of the page; the picture that stays has more."""


class Comparison:
    """What `compare` gives: a picture that a notebook shows.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
    """

    def __init__(self, figure: Figure, names: list[str]) -> None:
        self.figure = figure
        self.names = names

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=SHARP)
        return file.getvalue(), SHOWN

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.names)})"


@np.errstate(all="ignore")
def compare(*runs: Run, log: bool = False, smoothing: float = 0.9) -> Comparison:
    """Lay the curves of runs over each other.

    Parameters
    ----------
    *runs : Run
    log : bool
        Whether the loss axis is logarithmic.
    smoothing : float
        The share of the smoothed loss that is kept from step to step, in [0, 1).

    Returns
    -------
    Comparison
        A notebook shows it.

    Raises
    ------
    TypeError
        If there is no run, or something that is none.
    ValueError
        If smoothing is out of range.
    """
    if not runs:
        raise TypeError("compare takes runs, and was given none: compare(run1, run2)")
    for r in runs:
        if not isinstance(r, Run):
            raise TypeError(f"compare takes runs, not a {type(r).__name__}: compare(run1, run2)")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing = {smoothing:g} is out of range: 0 ≤ smoothing < 1")
    labels = _labels(runs)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure, ax = _axes()
        ys = []
        shown: dict[str, Any] = {}
        colours = (LOSS, VALID, *METRICS)
        for i, (run, label) in enumerate(zip(runs, labels)):
            track = _Track(run)
            track.update()
            x, y = track.loss.smooth(smoothing)
            ys.append(y)
            colour = colours[i % len(colours)]
            style = ("-", "--", ":", "-.")[i // len(colours) % 4]
            ax.plot(*track.loss.line(), color=colour, alpha=0.2, lw=0.8)
            shown[label] = ax.plot(x, y, color=colour, lw=1.8, ls=style)[0]
            if "valid" in track.checks:
                x, y = track.checks["valid"].line()
                ax.plot(x, y, color=colour, lw=1.2, ls=":")
                ys.append(y)
        ax.set_yscale("log" if log else "linear")
        ax.set_ylim(*_wider(*_range(ys, log), log))
        end = max([2, *(r.steps for r in runs)])
        ax.set_xlim(-0.01 * end, end)
        lines = list(shown.values())
        _write(
            ax.legend(lines, ["x"] * len(lines), loc="upper right", frameon=False, labelcolor=INK, fontsize=9), shown
        )
    return Comparison(figure, labels)


def _labels(runs: Sequence[Run]) -> list[str]:
    """Their names, made different."""
    names = [r.name or "run" for r in runs]
    return [f"{k} ({i})" if names.count(k) > 1 else k for i, k in enumerate(names, 1)]


def _write(legend: Any, names: Iterable[str]) -> None:
    for text, name in zip(legend.get_texts(), names, strict=True):
        _plain_text(text, name)


def _plain_text(text: Any, words: str) -> Any:
    """Let a text show words as they are: no mathematics, no TeX, nothing that fonts cannot have, not too long."""
    text.set_usetex(False)
    text.set_parse_math(False)
    words = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)
    text.set_text(words if len(words) <= LABEL else words[: LABEL - 1] + "…")
    return text


def _axes() -> tuple[Figure, Any]:
    figure = Figure(figsize=SIZE, dpi=DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0)
    ax = figure.add_axes((0.075, 0.13, 0.86, 0.77))
    _plain(ax)
    ax.grid(color=INK, alpha=0.22, lw=0.6)
    ax.set_xlabel("step", color=INK, fontsize=9, loc="right", labelpad=3)
    return figure, ax


def _plain(ax: Any) -> None:
    ax.set_autoscale_on(False)  # limits are set, and of some losses there are none
    ax.patch.set_alpha(0)
    ax.tick_params(colors=INK, labelsize=9, which="both")
    for spine in ax.spines.values():
        spine.set_color(INK)
        spine.set_alpha(0.5)
    ax.spines[["top"]].set_visible(False)


LARGEST = 1e290
LARGEST_LOG = 1e200
"""Where an axis ends, and below at its negative or inverse: what matplotlib makes of more is not finite."""


def _range(lines: Sequence[Any], log: bool) -> tuple[float, float]:
    values = np.concatenate([np.asarray(y, np.float64) for y in lines]) if lines else np.empty(0)
    values = values[np.isfinite(values) & (values > 0)] if log else values[np.isfinite(values)]
    if not len(values):
        return (0.1, 1.0) if log else (0.0, 1.0)
    least, most = (1 / LARGEST_LOG, LARGEST_LOG) if log else (-LARGEST, LARGEST)
    low, high = np.clip([values.min(), values.max()], least, most)
    return float(low), float(high)


def _span(low: float, high: float, log: bool) -> float:
    return (math.log(high) - math.log(low)) if log else high - low


def _wider(low: float, high: float, log: bool) -> tuple[float, float]:
    """With a margin, and never empty."""
    if log:
        margin = max(0.06 * (math.log(high) - math.log(low)), 0.05)
        return low * math.exp(-margin), high * math.exp(margin)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _thin(starts: Sequence[int], steps: int, end: float) -> list[tuple[int, int]]:
    """Of the epochs, every first, second, fifth, tenth …, so that their labels have room: (start, number)."""
    if len(starts) < 2:
        return []
    apart = max(end / 8, 1.0)
    mean = max(starts[-1] / (len(starts) - 1), 1e-9)
    stride = next(k * 10**p for p in range(12) for k in (1, 2, 5) if k * 10**p * mean >= apart)
    return [(starts[i], i + 1) for i in range(stride, len(starts), stride) if starts[i] < steps]


def _parted(run: Run) -> list[tuple[int, str]]:
    """Where a run left the one that it is a branch of, and that one its own: (step, name)."""
    found = []
    end = run.steps
    while run.parent is not None:
        if run.parted <= end:
            found.append((run.parted, run.name or "branch"))
        end = min(end, run.parted)
        run = run.parent
    return found


def _joined(events: Sequence[tuple[int, str, Any, Any]], end: float) -> list[tuple[int, str]]:
    """Turns that would be drawn on top of each other, as one: (step, label)."""
    groups: list[tuple[int, dict[str, list[Any]]]] = []
    for step, name, old, new in events:
        if not groups or step - groups[-1][0] > end / 70:
            groups.append((step, {}))
        told = groups[-1][1].setdefault(name, [old, new])
        told[1] = new
    return [(step, _told(names)) for step, names in groups]


def _told(changes: dict[str, list[Any]]) -> str:
    words = []
    for name, (old, new) in changes.items():
        if name == "opt":
            words.append(f"{old} → {new}")
        else:  # among others a dial has room for its new value only
            words.append(f"{name} {dial(old)} → {dial(new)}" if len(changes) == 1 else f"{name} {dial(new)}")
    label = ", ".join(words)
    return label if len(label) <= LABEL else label[: LABEL - 1] + "…"
