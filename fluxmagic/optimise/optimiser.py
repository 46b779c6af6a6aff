"""The base of all optimisers: hyper-parameters as attributes, state, and the one update."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from fluxmagic.absent import present
from fluxmagic.optimise import providers
from fluxmagic.optimise.declare import COMMON, Declared, describe
from fluxmagic.optimise.errors import NotFinite
from fluxmagic.optimise.flat_buffer import FlatBuffer
from fluxmagic.optimise.hyper import Hyper, Schedule
from fluxmagic.optimise.memory import Block, Memory, subtract_steps
from fluxmagic.optimise.state_dict import Stateful
from fluxmagic.optimise.transforms import clip, clip_norm, inverse_decay, norm_scale, weight_decay
from fluxmagic.tracker import Param, Tracked
from fluxmagic.tracker.fp_errors import ignoring_fp_errors

__all__ = ["OPTIMISERS", "Optimiser", "as_params"]

OPTIMISERS: dict[str, type[Optimiser]] = {}
"""Every optimiser by name; a class is registered by being defined."""

CHECK_EVERY = 128  # updates between two checks of the range of weights and state
SMALL = 1 << 15  # elements of weights and state, which take some 2 µs to copy
COMPILED_FROM = 50_000  # parameters: below, an update is mostly its calls
COMPILED_AFTER = 1 << 27  # parameters updated, which take some 0.1 s: as long as compiling the rule
LARGE_VALUE = 1e6  # a hyper-parameter from here on may carry an update out of the range of float32


class Optimiser(Stateful):
    """Base of all optimisers.  A user's optimiser is a small class:

    ::

        class SignSGD(Optimiser):
            '''Steps of constant size against the sign of the gradient.'''

            η = Hyper(0.01, "learning rate", scale="log")

            def step(self, δ, s):
                return self.η * np.sign(δ)

    Parameters
    ----------
    params : iterable of Param
        As from `fluxmagic.params(m)`.
    *η : float or callable
        The learning rate may come by position.
    **hypers : float or callable
        The declared hyper-parameters, by their Greek or ASCII names; a function of the number of updates
        done so far is a schedule.

    Attributes
    ----------
    hypers : dict
        The declared `Hyper`s by name, of the class.
    state : tuple of str
        Names of arrays of the parameters' shapes that the rule keeps; they start at 0.  Class attribute.
    numbers : dict
        Names and first values of numbers that the rule keeps.  Class attribute.
    params : list of Param
    blocks : list of (Block, list of ndarray)
        What the rule works on, and its constants.
    n : int
        Updates done.
    version : int
        Grows with every change of a hyper-parameter.

    Raises
    ------
    TypeError
        If something given is not a parameter, a hyper-parameter is unknown, or one is given twice.
    ValueError
        If a hyper-parameter is out of bounds.
    """

    decay_on: ClassVar[str] = "step"
    """Whether `decay` acts on the "gradient", before the rule, or on the finished "step"."""
    decoupled_decay: ClassVar[bool] = False
    """Whether the rule itself applies `weightdecay`."""
    plain: ClassVar[bool] = False
    """Declared by `class Mine(Optimiser, plain=True)`: the rule is arithmetic on δ, the state and its arguments alone.
    It raises nothing, calls nothing of this package, and its step is 0 where δ and the state are.  It runs without a
    copy of a small model, and NumPy neither warns nor raises in it.  A compiled update does not run it again."""

    decay = Hyper(0.0, "inverse decay γ of the step: 1 / (1 + γ n)")
    clip = Hyper(math.inf, "bound on each element of the gradient", low_open=True, scale="log", off=math.inf)
    clipnorm = Hyper(math.inf, "bound on the 2-norm of the whole gradient", low_open=True, scale="log", off=math.inf)
    weightdecay = Hyper(0.0, "λ: adds λ p to the gradient", scale="log")

    blocks: list[tuple[Block, list[np.ndarray]]]
    subtract_steps: Callable[..., None]
    _only_hypers: ClassVar[bool] = True  # the constants are those

    def __init_subclass__(cls, *, plain: bool = False, **options: object) -> None:
        super().__init_subclass__(**options)
        describe(cls)
        cls._only_hypers = cls.constants is Optimiser.constants
        if "step" in vars(cls):
            cls.plain = plain
            cls._rule = vars(cls)["step"]
            cls.step = _refuse_no_arguments(cls._rule)  # type: ignore[method-assign]
        if not cls.__name__.startswith("_"):
            OPTIMISERS[cls.__name__] = cls

    def __init__(self, params: Iterable[Param], *η: float | Schedule, **hypers: float | Schedule) -> None:
        self.__dict__["params"] = as_params(params, self.name)  # past __setattr__, which is for users
        self._near_overflow = True  # the next update may leave the range of the dtype: it is made with a copy
        self._rule_alone = True  # no transform is on
        self._taken = [name for name in inspect.signature(self._rule).parameters if name in self.hypers]
        self._init_hypers(η, hypers)
        self._flat = FlatBuffer(self.params)
        self.__dict__["memory"] = Memory(self._flat, self.state)
        self.__dict__["blocks"] = [(s, self.memory.constants[s.p.dtype]) for s in self.memory.blocks]
        self._numbers = SimpleNamespace(**self.numbers)
        self.__dict__["subtract_steps"] = subtract_steps
        self._last_constants: tuple[float, ...] = ()
        self._constants_version = -1  # the version that the constants belong to, where they follow from it

    def store(self, name: str, value: float) -> None:
        """Store a hyper-parameter that was checked; see what it changes in the next update."""
        super().store(name, value)
        if value > LARGE_VALUE and self.hypers[name].off is None:
            self._near_overflow = True
        if name in COMMON:
            on = [k for k in COMMON if self._values.get(k) != self.hypers[k].default]
            self._rule_alone = not on or (on == ["weightdecay"] and self.decoupled_decay)

    def __repr__(self) -> str:
        changed = [f"{k}={v:g}" for k, v in self._values.items() if v != self.hypers[k].default or k == "η"]
        return f"{self.name}({len(self.params)} parameters{''.join(', ' + c for c in changed)})"

    def constants(self) -> tuple[float, ...]:
        """Return the numbers that `step` takes in this update: by default the hyper-parameters that it names."""
        values = self._values
        return tuple([values[name] for name in self._taken])

    def step(self, δ: np.ndarray, s: Block, *constants: Any) -> np.ndarray:  # noqa: ANN401 - rules name theirs
        """Return what is subtracted from the parameters: the rule.

        Parameters
        ----------
        δ : ndarray
            The gradient, flat, or a part of it; may be overwritten.
        s : namespace
            The state's arrays by name, `s.p` the parameters, `s.tmp` an array for intermediate results; of δ's shape.
            `s.m = …` writes into the array, as `s.m[...] = …` does.
        *constants : 0-d ndarray
            What `constants` returned, in the dtype of the parameters; read-only.

        Returns
        -------
        ndarray
            Of δ's shape; may be δ, s.tmp or one of the state's arrays.
        """
        raise NotImplementedError(f"{self.name} defines no step(δ, s)")

    _rule = step
    """`step` as it was written."""

    def __call__(self) -> None:
        """Update the parameters, and clear their gradients.

        Raises
        ------
        NotFinite
            If a gradient is not finite, or a weight or state would not be afterwards; nothing was updated.
        """
        bad = self.first_nonfinite_grad()
        if bad is not None:
            self.clear()
            raise NotFinite(self.n + 1, math.nan, bad)
        self.update()

    def update(self) -> None:
        """Update with gradients that `first_nonfinite_grad` has checked.

        It is undone if it raises, where it was made with a copy: near an overflow, and for a small model whose rule may
        raise.  To copy a large model would take longer than its update.
        """
        if self._schedules:
            self.follow_schedules()
        checked, plain = self._near_overflow, self.plain
        saved = None
        if checked or not (plain or self.memory.size > SMALL):
            saved = self.copy_state()
        try:
            if plain:
                ignoring_fp_errors(self._apply)
            else:
                self._apply()
                self.memory.clear_padding()
            if checked or self.n % CHECK_EVERY == 0:
                self._check_range()
        except BaseException as error:
            if isinstance(error, NotFinite):
                error.kept = checked  # otherwise it may come from an earlier update
            elif saved is None:
                error.add_note(
                    f"{self.name} was in the middle of update {self.n + 1}: some parameters and states may be updated, "
                    "others not. To have them as they were after the last whole update, go back: run.rewind(run.steps)"
                )
            if saved is None:
                self._flat.mark_updated()
            else:
                self.restore_state(saved)
            raise

    def begin_outside(self) -> bool:
        """Prepare an update of `blocks` that is carried out elsewhere, before `end_outside`; False: call `update`."""
        if self._near_overflow or self._schedules or not self._rule_alone:
            return False
        if self._constants_version != self.version:
            self._set_constants()
        return True

    def end_outside(self) -> None:
        """Count an update that `begin_outside` began; `memory.flat.mark_updated` is left to the caller."""
        fields = self.__dict__
        fields["n"] = n = fields["n"] + 1
        if n % CHECK_EVERY == 0:
            self._check_range()

    def _set_constants(self) -> None:
        constants = self.constants()
        if constants != self._last_constants:
            self.memory.set_constants(constants)
            self.__dict__["_last_constants"] = constants
        if self._only_hypers:
            self._constants_version = self.version

    def _apply(self) -> None:
        if self._constants_version != self.version:
            self._set_constants()
        rule = self._rule if self.plain else self._checked_rule
        if self._rule_alone:
            self.subtract_steps(rule, self.blocks)
        else:
            self._apply_transformed(rule)
        self.__dict__["n"] += 1
        self._flat.mark_updated()

    def _apply_transformed(self, rule: Callable[..., np.ndarray]) -> None:
        scale = norm_scale(self._flat, self.clipnorm)
        λ = 0.0 if self.decoupled_decay else self.weightdecay
        γ = {"gradient": 0.0, "step": 0.0, self.decay_on: self.decay}
        for s, numbers in self.blocks:
            clip_norm(s.δ, scale)
            clip(s.δ, self.clip)
            weight_decay(s.δ, s.p, λ, s.tmp)
            s.δ = inverse_decay(s.δ, γ["gradient"], self.n)
            step = inverse_decay(rule(s.δ, s, *numbers), γ["step"], self.n)
            np.subtract(s.p, step, s.p)

    def _checked_rule(self, δ: np.ndarray, s: Block, *constants: np.ndarray) -> np.ndarray:
        """Call a user's rule; refuse a step that would fit the parameters only by broadcasting."""
        step = self._rule(δ, s, *constants)
        given = step if isinstance(step, np.ndarray) else np.asarray(step)
        if given.dtype.kind not in "fiub" or given.shape not in ((), s.p.shape):
            what = f"an array of shape {given.shape}" if given.dtype.kind in "fiub" else f"a {type(step).__name__}"
            raise TypeError(
                f"step of {self.name} returns what is subtracted, of δ's shape {s.p.shape}, and gave {what}"
            )
        return step

    def compile_update(self) -> bool:
        """Make an update one pass over memory from now on, with the same bits; tell whether the extra `fast` is there.

        Updates of 50,000 parameters or more are compiled by themselves, after the time that this takes has been spent
        in them.
        """
        if self.subtract_steps is subtract_steps:
            self.__dict__["subtract_steps"] = providers.compiled_update(self.plain) or subtract_steps
        return self.update_is_compiled

    @property
    def update_is_compiled(self) -> bool:
        """Whether an update is one pass over memory; until a rule asks for something that is no arithmetic."""
        return getattr(self.subtract_steps, "works", False)

    def _check_range(self) -> None:
        if self.n % CHECK_EVERY == 0:
            self.memory.flush_denormals()
            size = self.memory.size // (1 + len(self.state))
            if size >= COMPILED_FROM and size * self.n >= COMPILED_AFTER:
                self.compile_update()
        if not self.plain:
            self.memory.clear_padding(state=True)
        near = self.memory.near_overflow(self.n)
        large = any(v > LARGE_VALUE and self.hypers[k].off is None for k, v in self._values.items())
        self._near_overflow = near or large

    def clear(self) -> None:
        """Set the gradients of the optimiser's parameters to zero."""
        self._flat.zero_grad()

    def first_nonfinite_grad(self) -> Param | None:
        """Return the first parameter whose gradient is not finite, if any."""
        flat = self._flat
        flat.zero_unreached()
        if flat.grad_norm_squared() <= flat.limit:
            return None
        self._near_overflow = True
        return flat.first_nonfinite()

    @property
    def n_reached(self) -> int:
        """The number of parameters that had a gradient in the last `first_nonfinite_grad`."""
        return len(self.params) - self._flat.n_unreached

    def __reduce__(self) -> tuple[Any, ...]:  # a copy gets memory of its own: the state's arrays are views
        return _restored, (type(self), self.params, self.state_dict(), self.schedules)


def _refuse_no_arguments(rule: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Explain `opt.step()`, the call of other libraries."""

    @wraps(rule)
    def step(self: Optimiser, *args: object, **options: object) -> np.ndarray:
        if not args and not options:
            raise TypeError(f"opt.step() is opt() here: an update of {self.name}; step(δ, s) is its rule")
        return rule(self, *args, **options)

    return step


def as_params(params: Iterable[Param], name: str) -> list[Param]:
    """Return each parameter once; refuse an empty list, and anything else in it."""
    if isinstance(params, Tracked):
        raise TypeError(f"{name} takes a list of parameters: [W], or params(m)")
    try:
        result = list(params)
    except TypeError:
        raise TypeError(
            f"{name} takes a list of parameters, such as params(m), not a {type(params).__name__}"
        ) from None
    for p in result:
        if not isinstance(p, Param):
            raise TypeError(
                f"{name} updates parameters, and this is a {type(p).__name__}: param(...) makes one, params(m) finds "
                "those of a model"
            )
    if not result:
        raise TypeError(f"{name} was given no parameters")
    return list(dict.fromkeys(result))


def _restored(
    cls: type[Optimiser], params: list[Param], state: Mapping[str, Any], schedules: Mapping[str, Schedule]
) -> Optimiser:
    opt = cls(params, **schedules)
    opt.load_state_dict(state)
    return opt


Optimiser.reserved = frozenset(
    {*present(Optimiser), *Optimiser.__annotations__, *Stateful.__annotations__, *Declared.__annotations__}
    - set(COMMON)
)
