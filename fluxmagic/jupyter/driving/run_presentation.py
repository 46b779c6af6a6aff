"""How a run is shown: its curve, with the curves of earlier runs in grey, and its controls."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable

from fluxmagic.jupyter import formatting
from fluxmagic.jupyter.controls.layout import WIDTH
from fluxmagic.jupyter.controls.run_controls import RunControls
from fluxmagic.jupyter.controls.transport import Controls
from fluxmagic.jupyter.driving.presentation import Presentation
from fluxmagic.jupyter.driving.views import display_result
from fluxmagic.jupyter.pictures.downsample import MinMaxSeries
from fluxmagic.jupyter.pictures.plot import Curve
from fluxmagic.runs import Run

__all__ = ["PRESENTATION", "RunPicture", "display_run", "forget_curves", "recent_curves", "remember_curve"]


class RunPicture:
    """The curve of a run, or of a branch that takes its place; earlier ones in grey, by default recent ones."""

    def __init__(self, run: Run, earlier: Iterable[MinMaxSeries] | None = None) -> None:
        self.earlier = recent_curves(run) if earlier is None else list(earlier)
        self.curve = Curve(run, self.earlier)
        self._controls: RunControls | None = None

    def follow(self, controls: Controls) -> None:
        assert isinstance(controls, RunControls)
        self._controls = controls
        if self.curve.run is not controls.run:  # its branch
            self.close()
            self.earlier.append(self.curve.loss)
            self.curve = Curve(controls.run, self.earlier)
        self.curve.page_width, self.curve.leaves_time = controls.width, controls.pace.is_limited
        for name, value in controls.view.items():
            setattr(self.curve, name, value)

    def frame(self) -> bytes:
        png = self.curve.frame()  # also of nothing: the first one takes long
        if self._controls is not None:
            self._controls.axis = self.curve.axis
        return png

    @property
    def is_unfinished(self) -> bool:
        return self.curve.is_unfinished

    @property
    def rich(self) -> list[dict[str, str]]:
        return [{**v.rendered.rich, "text/plain": v.rendered.text} for v in self.curve.shown if v.is_rich]

    def picture(self) -> bytes:
        self.curve.page_width = WIDTH
        return self.curve.picture()

    def close(self) -> None:
        remember_curve(self.curve.run, self.curve.loss)


# What was shown last: the runs themselves may be large, and are not held.
_recent: deque[tuple[str | None, weakref.ref[Run], MinMaxSeries]] = deque(maxlen=3)


def recent_curves(run: Run) -> list[MinMaxSeries]:
    """Give the losses of recent runs of the same name, and of the one that this is a branch of; to be drawn in grey."""
    others = [(name, ref(), loss) for name, ref, loss in _recent]
    return [
        loss
        for name, other, loss in others
        if other is not run and (name == run.name or (other is not None and other is run.parent))
    ]


def remember_curve(run: Run, loss: MinMaxSeries) -> None:
    """Keep the losses of a run that is shown no more."""
    for old in [r for r in _recent if r[1]() is run]:
        _recent.remove(old)
    _recent.append((run.name, weakref.ref(run), loss))


def forget_curves() -> None:
    """Forget all recent runs."""
    _recent.clear()


def display_run(run: Run) -> None:
    """Show the curve and the summary of a run at the end of a cell, without earlier runs."""
    display_result(run, RunPicture(run, ()))


PRESENTATION = Presentation(RunPicture, RunControls, formatting.progress, formatting.summary)
