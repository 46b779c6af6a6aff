"""Schedules: hyper-parameters as functions of the number of updates done.

Any function of n is a schedule, `ADAM(ps, lambda n: 0.01 * 0.99**n)`; these are the common ones.  A number that is
assigned later replaces the schedule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["cosine", "exponential", "onecycle"]


@dataclass(frozen=True)
class exponential:  # noqa: N801 - called like a function
    """first · factor^(n / every).

    Parameters
    ----------
    first : float
        The value at n = 0.
    factor : float
        The factor over `every` updates.
    every : int

    Examples
    --------
    >>> from fluxmagic.optimise import exponential
    >>> η = exponential(0.1, 0.5, every=100)
    >>> η(0), η(100), η(200)
    (0.1, 0.05, 0.025)
    """

    first: float
    factor: float
    every: int = 1

    def __post_init__(self) -> None:
        _check(self, first=self.first >= 0, factor=self.factor > 0, every=self.every > 0)

    def __call__(self, n: int) -> float:
        return self.first * self.factor ** (n / self.every)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class cosine:  # noqa: N801
    """Half a cosine from first to last over a number of updates; then last.

    Parameters
    ----------
    first : float
    steps : int
        1 or more.
    last : float
        `cosine(0.1, 0.001, 400)`, with the last value before the steps, is understood too.

    References
    ----------
    Loshchilov, Hutter: SGDR.  https://arxiv.org/abs/1608.03983

    Examples
    --------
    >>> from fluxmagic.optimise import cosine
    >>> η = cosine(0.1, 100)
    >>> η(0), round(η(50), 12), η(1000)
    (0.1, 0.05, 0.0)
    """

    first: float
    steps: int
    last: float = 0.0

    def __post_init__(self) -> None:
        if not _is_count(self.steps) and _is_count(self.last):  # or else the value would go up to the steps
            steps, last = int(self.last), float(self.steps)
            object.__setattr__(self, "steps", steps)
            object.__setattr__(self, "last", last)
        _check(self, first=self.first >= 0, steps=_is_count(self.steps), last=self.last >= 0)

    def __call__(self, n: int) -> float:
        return _between(self.first, self.last, n / self.steps)


@dataclass(frozen=True)
class onecycle:  # noqa: N801
    """Half a cosine up to a peak, then one down to almost 0.

    Parameters
    ----------
    peak : float
    steps : int
        Updates in all.
    rise : float
        The share of the updates that goes up.
    start, end : float
        First and last value, as shares of the peak.

    References
    ----------
    Smith, Topin: Super-convergence.  https://arxiv.org/abs/1708.07120

    Examples
    --------
    >>> from fluxmagic.optimise import onecycle
    >>> η = onecycle(1.0, 100)
    >>> [round(η(n), 6) for n in (0, 30, 100)]
    [0.04, 1.0, 4e-06]
    """

    peak: float
    steps: int
    rise: float = 0.3
    start: float = 0.04
    end: float = 4e-6

    def __post_init__(self) -> None:
        _check(self, peak=self.peak >= 0, steps=self.steps > 0, rise=0 <= self.rise <= 1, start=self.start >= 0)

    def __call__(self, n: int) -> float:
        top = self.rise * self.steps
        if n < top:
            return self.peak * _between(self.start, 1.0, n / top)
        return self.peak * _between(1.0, self.end, (n - top) / max(self.steps - top, 1e-9))


def _is_count(x: float) -> bool:
    return x >= 1 and x % 1 == 0


def is_ready_made(x: object) -> bool:
    """Tell whether x is a schedule of this module, which a file and a script can name."""
    return type(x) in (exponential, cosine, onecycle)


def _between(first: float, last: float, done: float) -> float:
    """Go along half a cosine; `done` from 0 to 1, and 1 from there on."""
    return last + (first - last) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def _check(schedule: object, **right: bool) -> None:
    for name, fine in right.items():
        if not fine:
            raise ValueError(f"{schedule!r}: {name} is out of range")
