"""`capture`: a training step that is recorded and then replayed, in the same bits.

The first two steps of a kind of batch are ordinary ones that are recorded.  Where both recordings agree they become a
program, and the next step is taken both ways.  What a program does not stand for goes the ordinary way, whole.
"""

from __future__ import annotations

import _signal
import signal
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from fluxmagic.capture import guards, inner_loops, machine_code
from fluxmagic.capture.attempt import Attempt, LossView, NotRecorded, check_optimisers, record
from fluxmagic.capture.compare import difference, way
from fluxmagic.capture.loss_program import CannotReplay, LossProgram, Recording, Replay, build
from fluxmagic.capture.report import Report, StepsDiffer
from fluxmagic.capture.verify import Schedule, StepState, taken_back
from fluxmagic.optimise.inputs import Batch, Loss
from fluxmagic.optimise.interrupts import InterruptGuard
from fluxmagic.optimise.optimiser import Optimiser
from fluxmagic.optimise.step import without_fp_warnings, zero_grads
from fluxmagic.tracker import Tracked
from fluxmagic.tracker.fp_errors import SilentContext

__all__ = ["CapturedStep"]

MOST_KINDS = 16
MOST_WAYS = 4
MOST_RECORDINGS = 16  # of one kind of batch, and one more for so many replayed steps:
REPLAYED_PER_RECORDING = 100
COMPILE_AFTER = 100  # replayed steps: compiling takes 0.1 to 1 s, which a run of a few steps does not gain
MOST_FAILURES = 3  # recordings in a row that cannot be replayed


# -- interrupts of steps that no loop takes ------------------------------------------------------------

SIGINT = int(signal.SIGINT)
_before: Callable[[int, FrameType | None], object] = signal.default_int_handler


def _install() -> None:
    """Hold interrupts back from now on, where no loop's guard does."""
    global _before
    now = signal.getsignal(signal.SIGINT)
    is_a_guards = isinstance(getattr(now, "__self__", None), InterruptGuard)
    if threading.current_thread() is threading.main_thread() and callable(now) and not is_a_guards:
        _before = now
        signal.signal(signal.SIGINT, _hold_back)


def _uninstall() -> None:
    """Put back the handler that was there before: `asyncio.run` cancels its task only where it finds Python's own."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is _hold_back:
        signal.signal(signal.SIGINT, _before)


def _hold_back(number: int, frame: FrameType | None) -> None:
    """Handle SIGINT: within a step as its guard says."""
    f = frame
    while f is not None and f.f_code is not CapturedStep.__call__.__code__:
        f = f.f_back
    guard = None if f is None else f.f_locals["self"].guard
    if guard is None or not guard.hold_back():
        _before(number, frame)


def _deliver(guard: InterruptGuard) -> None:
    """Give an interrupt that was held back to the handler that was there before."""
    if threading.current_thread() is threading.main_thread():
        guard.presses = 0
        signal.signal(signal.SIGINT, _before)
        _before(signal.SIGINT, None)


def _none(*batch: object) -> None:
    """Stand for no program."""


@dataclass
class _Kind:
    """Batches of the same layouts, and the ways through the loss that were met with them."""

    programs: list[LossProgram] = field(default_factory=list)
    recordings: list[Recording] = field(default_factory=list)  # of ways that were met once
    n_recorded: int = 0


class CapturedStep:
    """A checked training step; made by `capture`.

    Attributes
    ----------
    report : Report
        How many steps were replayed, verified, ordinary and recorded, and why not more.
    loss : callable
    guard : InterruptGuard
        Of steps that no loop takes; exposed for the loss and the reverse pass.
    schedule : Schedule
    replay : callable
        Replays a step of the kind of the last one.
    """

    def __init__(self, loss: Loss, opts: list[Any], verify: int = 256, raises: bool = False) -> None:
        self.report = Report()
        self.loss = loss
        self.guard = InterruptGuard()
        self.guard.shielded = True
        self._raises = raises  # StepsDiffer, where the ways of a step differ; it is not taken then
        self._view = LossView.of(loss)
        self._kinds: dict[object, _Kind] = {}
        self._n_failures = 0
        self._lock = threading.Lock()
        self._quiet = SilentContext()  # apart from the tracker's, which rules within a program may enter
        self.schedule = Schedule(self.report, verify)
        self._opts: list[Any] = []
        self.replay: Replay = _none
        self._program: LossProgram | None = None  # that was replayed last
        self._follow(opts)
        weakref.finalize(self, _uninstall).atexit = False  # the next step of another one installs it again

    def __call__(self, *batch: object) -> float:
        """Take one step; return the loss.  Errors are those of `train`, and nothing is updated then."""
        if _signal.getsignal(SIGINT) is not _hold_back:  # 40 ns; `signal.getsignal` makes enums, 8 µs
            _install()
        self._lock.acquire()  # 0.1 µs faster than `with`
        try:
            value = self.replay(*batch)
            if value is None:
                with without_fp_warnings():  # as in `train`; it takes 7 µs
                    zero_grads(self._opts)
                    value = self._other(Attempt(batch, batch, self._opts, self.report.steps + 1, self.guard))
            return value
        finally:
            self._lock.release()
            if self.guard.presses:
                _deliver(self.guard)

    @property
    def source(self) -> str:
        """The programs as Python: one for each kind of batch and way through the loss."""
        return "\n\n".join(program.source for program in self._programs)

    @property
    def _programs(self) -> list[LossProgram]:
        return [program for kind in self._kinds.values() for program in kind.programs]

    def __repr__(self) -> str:
        return f"CapturedStep({self.report})"

    def __reduce__(self) -> tuple[Any, ...]:  # a copy records anew
        return CapturedStep, (self.loss, self._opts, self.schedule.longest, self._raises)

    def begin(self, opts: list[Any], step: int, last: int | None) -> None:
        """Go on after a step of a run with these optimisers; the last step, where it is known, is verified."""
        if opts != self._opts:
            self._follow(opts)
        self.schedule.last = last
        self.schedule.plan(step)

    def take(
        self,
        d: Batch,
        opts: list[Any],
        step: int,
        guard: InterruptGuard,
        strict: bool = False,
        on_loss: Callable[[Tracked], None] | None = None,
    ) -> float:
        """Take one step, as `train_step` does."""
        batch = d if isinstance(d, (tuple, list)) else (d,)
        if on_loss is None:
            guard.shielded = True
            value = self.replay(*batch)
            if value is not None:
                return value
        return self._other(Attempt(d, batch, opts, step, guard, strict, on_loss))

    def _other(self, attempt: Attempt) -> float:
        """Take a step for which the program at hand does not stand, or is not to."""
        self.replay = _none
        try:
            return self._recorded_or_replayed(attempt)
        except StepsDiffer:
            if self._raises:
                raise
            self.warn()
            return self._ordinary(attempt)
        finally:
            self.schedule.plan(attempt.step)

    def _recorded_or_replayed(self, attempt: Attempt) -> float:
        if self._n_failures >= MOST_FAILURES or not attempt.opts:
            return self._ordinary(attempt)
        try:
            check_optimisers(attempt.opts)
            kind = self._kind(attempt.batch)
        except CannotReplay as reason:
            self._refuse(str(reason))
            return self._ordinary(attempt)
        if kind is None:
            self.report.reason = self.report.reason or f"there are more than {MOST_KINDS} kinds of batches"
            return self._ordinary(attempt)
        if attempt.on_loss is None and kind.programs:
            if not all(opt.n for opt in attempt.opts):  # a new optimiser, whose first update makes its constants
                return self._ordinary(attempt)
            value = self._by_program(kind, attempt)
            if value is not None:
                return value
        most = MOST_RECORDINGS + self.report.replayed // REPLAYED_PER_RECORDING
        if len(kind.programs) >= MOST_WAYS or kind.n_recorded >= most:
            self.report.reason = self.report.reason or (
                f"the loss goes more than {MOST_WAYS} ways through its branches, or reads what changes in every step"
            )
            return self._ordinary(attempt)
        return self._recorded(kind, attempt)

    def _kind(self, batch: Sequence[object]) -> _Kind | None:
        try:
            key = guards.kind_of(tuple(batch))
            kind = self._kinds.get(key)
        except TypeError:
            raise CannotReplay("the batch holds something that is neither an array nor a number") from None
        if kind is None and len(self._kinds) < MOST_KINDS:
            kind = self._kinds[key] = _Kind()
        return kind

    def _by_program(self, kind: _Kind, attempt: Attempt) -> float | None:
        """Replay a step by a program that fits, or take it both ways where that is due; None if none fits."""
        is_due = self.report.replayed >= self.report.due
        for program in kind.programs:
            if program.step is None:
                with machine_code.timed(self.report):
                    program.finish(self._opts, self._compiles, self.report, self._quiet.run, self._view.bind)
            assert program.step is not None
            if is_due or not program.verified:
                value = self._verified(program, program.step, attempt)
                if value is not None and program.verified and not program.compiled and self._compiles:
                    self._write(program, attempt.batch, compiled=True)
            else:
                value = program.step(*attempt.batch)
            if value is not None:
                self._program, self.replay = program, _none if program.step is None else program.step
                return value
        if len(kind.programs) >= MOST_WAYS:  # what was changed may come back, as test mode does
            kind.programs = [p for p in kind.programs if not guards.changed_place(p.places)]
            self.report.ways = len(self._programs)
        return None

    def _ordinary(self, attempt: Attempt) -> float:
        value = attempt.take(self.loss)
        self.report.ordinary += 1
        return value

    def _follow(self, opts: list[Any]) -> None:
        """Take optimisers; programs stay where the parameters are the same."""
        before, now = (
            [p for opt in each if isinstance(opt, Optimiser) for p in opt.params] for each in (self._opts, opts)
        )
        if list(map(id, before)) != list(map(id, now)):
            self._kinds.clear()
        self._opts = list(opts)
        for program in self._programs:
            program.step = None
        self.replay = _none
        self.schedule.verify_next()

    def _refuse(self, reason: str) -> None:
        """Go the ordinary way from now on."""
        self.report.reason = reason
        self._n_failures, self._program = MOST_FAILURES, None

    def _recorded(self, kind: _Kind, attempt: Attempt) -> float:
        """Take an ordinary step that is recorded; the second recording of a way makes a program."""
        kind.n_recorded += 1
        try:
            value, recording = record(self._view, attempt)
        except NotRecorded as reason:
            if reason.started:
                attempt = attempt._replace(on_loss=None)
            value = self._ordinary(attempt)  # where this raises, the recording was not to blame
            self._fail(str(reason))
            return value
        self.report.recorded += 1
        try:
            self._add(kind, recording, attempt)
        except CannotReplay as reason:
            self._fail(str(reason))
        return value

    def _add(self, kind: _Kind, recording: Recording, attempt: Attempt) -> None:
        recorder = recording.recorder
        if recorder.reason is not None:
            raise CannotReplay(recorder.reason)
        if recording.result is None:
            raise CannotReplay("the loss follows from nothing that was recorded")
        before = next((r for r in kind.recordings if way(r.recorder) == way(recorder)), None)
        if before is None:
            kind.recordings.append(recording)
            return
        kind.recordings.remove(before)
        reason = difference(before.recorder, recorder)
        if reason is not None:
            kind.recordings.append(recording)
            raise CannotReplay(reason)
        with machine_code.timed(self.report):
            kind.programs.append(build(recording, attempt.batch, attempt.opts, self._compiles))
        self.report.ways = len(self._programs)
        self._n_failures, self.report.reason = 0, None

    def _fail(self, reason: str) -> None:
        self.report.reason = reason
        self._n_failures += 1

    # -- verification ----------------------------------------------------------------------------------

    def _verified(self, program: LossProgram, replay: Replay, attempt: Attempt) -> float | None:
        """Take a step both ways, and keep the ordinary one; None if the program does not stand for it.

        Where they differ it is not taken, StepsDiffer is raised, and no other step is replayed.
        """
        self.schedule.let_others_in()
        report, before = self.report, StepState(program.program, self._opts)
        report.due = report.replayed + 1
        value = replay(*attempt.batch)
        if value is None:
            return None
        report.replayed -= 1
        after = StepState(program.program, self._opts)
        before.restore()
        ordinary = attempt.take(self.loss)
        differs = after.difference(StepState(program.program, self._opts))
        if repr(value) != repr(ordinary) or differs is not None:
            if program.compiled and not program.verified:  # NumPy's calls go on in the place of machine code
                report.is_compilable = False
                self._write(program, attempt.batch, compiled=False)
                report.ordinary += 1
                return ordinary
            before.restore()
            zero_grads(self._opts)
            self._refuse(
                f"a replayed step and an ordinary one differ ({differs or 'the loss'}): the loss depends on something "
                "that is neither in the batch nor within its reach"
            )
            raise StepsDiffer(report.reason)
        report.verified += 1
        self.schedule.verified(again=program.verified)
        program.verified = True
        return ordinary

    def _write(self, program: LossProgram, batch: Sequence[object], compiled: bool) -> None:
        """Write a program anew; the next step is verified again."""
        with machine_code.timed(self.report):
            program.write(batch, self._opts, compiled)
        self.schedule.verify_next()

    def differs(self, d: Batch, guard: InterruptGuard) -> bool:
        """Take one more step both ways, where steps were replayed since the last verified one, and take it back."""
        program = self._program
        if program is None or program.step is None or not self.schedule.n_unverified:
            return False
        attempt = Attempt(d, d if isinstance(d, (tuple, list)) else (d,), self._opts, self.report.steps, guard)
        try:
            with taken_back(program.program, self._opts):
                self._verified(program, program.step, attempt)
                self.report.verified -= 1
        except StepsDiffer:
            return True
        except Exception:  # the next step raises it
            return False
        finally:
            self.schedule.plan(attempt.step)
        return False

    def warn(self) -> None:
        """Say that replayed steps may have been wrong."""
        n = self.schedule.n_unverified
        message = f"{self.report.reason}. Ordinary steps follow; the last {n} were replayed"
        warnings.warn(message, RuntimeWarning, stacklevel=5)

    @property
    def _compiles(self) -> bool:
        """Whether what is written from now on is to be machine code."""
        enough = self.report.replayed >= COMPILE_AFTER and self.report.is_compilable
        return enough and machine_code.has_compiler() and inner_loops.are_as_expected()
