"""How the steps of a captured loss were taken."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

__all__ = ["Report", "StepsDiffer"]


@dataclass
class Report:
    """Counts of steps; printed, a sentence.

    Attributes
    ----------
    replayed : int
        Taken by a program alone.
    verified : int
        Taken both ways, and the same to the bit.
    recorded : int
        Ordinary steps that were recorded.
    ordinary : int
        All other ordinary steps.
    ways : int
        Programs: one for each kind of batch and way through the loss.
    compile_seconds : float
        Spent in making machine code, where the extra `fast` is installed.
    is_compilable : bool
        False once machine code has given other bits: NumPy's calls are replayed in its place.
    reason : str or None
        Why not more steps are replayed.
    """

    replayed: int = 0
    verified: int = 0
    recorded: int = 0
    ordinary: int = 0
    ways: int = 0
    compile_seconds: float = 0.0
    is_compilable: bool = True
    reason: str | None = None
    due: float = field(default=0, repr=False, compare=False)
    """Replayed steps when the next one is taken another way."""

    @property
    def steps(self) -> int:
        """All steps."""
        return self.replayed + self.verified + self.recorded + self.ordinary

    def after(self, earlier: Report | None) -> Report:
        """Copy the report, with the steps of an earlier one added."""
        names = ("replayed", "verified", "recorded", "ordinary", "compile_seconds") if earlier else ()
        return replace(self, **{name: getattr(self, name) + getattr(earlier, name) for name in names})

    def __str__(self) -> str:
        if not self.replayed + self.verified:
            return f"no step replayed: {self.reason or 'the loss is being recorded'}"
        text = f"{self.replayed:,} of {self.steps:,} steps replayed, {self.verified:,} verified"
        if self.compile_seconds >= 0.005:
            used = "" if self.is_compilable else ", to other bits, and not used"
            text += f", compiled in {self.compile_seconds:.2f} s{used}"
        return f"{text}; others are ordinary ones: {self.reason}" if self.reason else text


class StepsDiffer(RuntimeError):
    """A replayed step and an ordinary one differ; the step was not taken."""
