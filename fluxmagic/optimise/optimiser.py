"""What all optimisers share: declared hyper-parameters, flat state, and the one update."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fluxmagic.greek import canonical
from fluxmagic.optimise.errors import NotFinite
from fluxmagic.optimise.flat import Flat
from fluxmagic.optimise.hyper import Hyper, documented
from fluxmagic.tracker import Param, Tracked
from fluxmagic.tracker.silence import silently

__all__ = ["OPTIMISERS", "Optimiser"]

OPTIMISERS: dict[str, type[Optimiser]] = {}
"""Every optimiser by name; a class gets in by being defined."""

COMMON = ("decay", "clip", "clipnorm", "weightdecay")  # what every optimiser has
WORDS = {
    "step": "the optimiser is called: opt()",
    "zero_grad": "opt() clears the gradients itself, opt.clear() does that alone",
    "minimize": "train(loss, data, opt) is the loop, opt() one update",
    "apply_gradients": "opt() is an update",
    "param_groups": "dials are attributes: opt.η = 0.01; parts of a model with other dials take an optimiser each",
    "lr": "the learning rate is η (eta)",
    "learning_rate": "the learning rate is η (eta)",
    "momentum": "Momentum and Nesterov have ρ (rho)",
    "alpha": "RMSProp has ρ (rho)",
    "betas": "ADAM has β1 and β2 (beta1, beta2)",
    "eps": "ϵ is spelled ϵ or epsilon",
    "weight_decay": "it is weightdecay",
    "nesterov": "Nesterov is an optimiser of its own",
    "amsgrad": "AMSGrad is an optimiser of its own",
}
"""What other libraries call it, and what it is here."""

BLOCK = 1 << 18  # elements: what an update works on at a time stays in the cache
FLUSH = 128  # updates between two sweeps that keep denormal numbers out of the state
SMALL = 1 << 15  # weights and states up to which a user's rule always runs with a copy at hand: some 2 µs
LARGE_DIAL = 1e6  # from here on a dial alone may carry an update out of the range of float32


class Optimiser:
    """Base of all optimisers.  An optimiser of one's own is a small class:

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
    n : int
        Updates done.

    Raises
    ------
    TypeError
        If there is something that is no parameter, or a hyper-parameter that the optimiser lacks, or one twice.
    ValueError
        If a hyper-parameter is out of bounds.
    """

    hypers: ClassVar[dict[str, Hyper]] = {}
    state: ClassVar[tuple[str, ...]] = ()
    numbers: ClassVar[dict[str, float]] = {}
    decays_gradient: ClassVar[bool] = False
    """Whether `decay` acts on the gradient before the rule, or on the finished step."""
    decoupled: ClassVar[bool] = False
    """Whether the rule itself sees to `weightdecay`."""

    decay = Hyper(0.0, "inverse decay γ of the step: 1 / (1 + γ n)")
    clip = Hyper(math.inf, "bound on each element of the gradient", low_open=True, scale="log", off=math.inf)
    clipnorm = Hyper(math.inf, "bound on the 2-norm of the whole gradient", low_open=True, scale="log", off=math.inf)
    weightdecay = Hyper(0.0, "λ: adds λ p to the gradient", scale="log")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        hypers: dict[str, Hyper] = {}
        for base in reversed(cls.__mro__):
            hypers.update({h.name: h for h in vars(base).values() if isinstance(h, Hyper)})
        typed = [t for h in hypers.values() for t in {h.name, h.ascii}]
        taken = [t for t in typed if typed.count(t) > 1 or t in _RESERVED]
        if taken:
            raise TypeError(f"{cls.__name__}: {taken[0]} is taken, the hyper-parameter needs another name")
        if "step" in vars(cls):
            cls._rule = vars(cls)["step"]
            cls.step = _refusing_no_arguments(cls._rule)  # type: ignore[method-assign]
        cls.state = tuple(map(canonical, (cls.state,) if isinstance(cls.state, str) else cls.state))
        cls.numbers = {canonical(k): v for k, v in cls.numbers.items()}
        own = {k: h for k, h in hypers.items() if k not in COMMON}
        cls.hypers = {**own, **{k: hypers[k] for k in COMMON}}
        for h in cls.hypers.values():
            if h.ascii != h.name and not hasattr(cls, h.ascii):
                setattr(cls, h.ascii, _alias(h.name))
        first = [inspect.Parameter("params", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        for h in cls.hypers.values():
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if h.name == "η" else inspect.Parameter.KEYWORD_ONLY
            first.append(inspect.Parameter(h.name, kind, default=h.default))
        cls.__signature__ = inspect.Signature(sorted(first, key=lambda p: p.kind))  # type: ignore[attr-defined]
        cls.__doc__ = documented(cls.__doc__ or f"{cls.__name__}, an optimiser.", cls.hypers.values())
        if not cls.__name__.startswith("_"):
            OPTIMISERS[cls.__name__] = cls

    def __init__(self, params: Iterable[Param], *η: Any, **hypers: Any) -> None:
        given = self.named(hypers)
        if η:
            if len(η) > 1 or "η" not in self.hypers:
                raise TypeError(f"{self.name} takes the parameters{', η' if 'η' in self.hypers else ''} and keywords")
            if "η" in given:
                raise TypeError(f"{self.name}: η is given twice")
            given["η"] = η[0]
        set_ = object.__setattr__
        set_(self, "_values", {})
        set_(self, "_schedules", {})
        set_(self, "_turns", 0)
        set_(self, "params", _checked(params, self.name))
        set_(self, "_narrow", any(p.dtype == np.float32 for p in self.params))
        for h in self.hypers.values():
            self._put(h.name, h.default)
        for name, value in given.items():
            setattr(self, name, value)
        set_(self, "n", 0)
        set_(self, "_numbers", SimpleNamespace(**self.numbers))
        set_(self, "_flat", Flat(self.params))
        set_(self, "_arrays", [{k: np.zeros_like(p) for k in self.state} for p, _ in self._flat.segments])
        set_(self, "_constants", {p.dtype: [] for p, _ in self._flat.segments})
        set_(self, "_given", None)
        set_(self, "_blocks", self._cut())
        set_(self, "_own_rule", not type(self)._rule.__module__.startswith("fluxmagic."))
        size = sum(p.size * (1 + len(self.state)) for p, _ in self._flat.segments)
        set_(self, "_copies", self._own_rule and size <= SMALL)
        set_(self, "_wary", True)

    params: list[Param]
    n: int
    _values: dict[str, float]
    _bare: bool
    _turns: int
    _schedules: dict[str, Callable[[int], float]]
    _numbers: SimpleNamespace
    _flat: Flat
    _arrays: list[dict[str, np.ndarray]]
    _blocks: list[tuple[Block, list[np.ndarray]]]
    _constants: dict[np.dtype[Any], list[np.ndarray]]
    _given: tuple[float, ...] | None
    _narrow: bool  # some parameter is float32
    _own_rule: bool  # the rule is a user's
    _copies: bool  # every update is made with a copy at hand
    _wary: bool  # the next one is, since it may leave the range of the dtype

    def _cut(self) -> list[tuple[Block, list[np.ndarray]]]:
        """The arrays that each call of the rule works on, with the list of its constants."""
        blocks = []
        for (p, δ), arrays in zip(self._flat.segments, self._arrays, strict=True):
            tmp = np.empty(min(p.size, BLOCK), p.dtype)
            for start in range(0, p.size, BLOCK):
                cut = slice(start, start + BLOCK)
                kept = {k: a[cut] for k, a in arrays.items()}
                s = {"p": p[cut], "δ": δ[cut], "tmp": tmp[: p[cut].size], **kept}
                blocks.append((Block(s), self._constants[p.dtype]))
        return blocks

    # -- hyper-parameters ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The optimiser's name, that of its class."""
        return type(self).__name__

    @classmethod
    def named(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Hyper-parameters under their own names, whichever way they were typed.

        Raises
        ------
        TypeError
            If the optimiser lacks one, or one is given twice.
        """
        by_name = {alias: h.name for h in cls.hypers.values() for alias in (h.name, h.ascii)}
        result: dict[str, Any] = {}
        for typed, value in given.items():
            name = by_name.get(canonical(typed))
            if name is None:
                raise TypeError(cls._lacks(typed))
            if name in result:
                raise TypeError(f"{cls.__name__}: {name} is given twice")
            result[name] = value
        return result

    def _assign(self, hyper: Hyper, value: Any) -> None:
        """A number is set, and beats a schedule; a function of n becomes the schedule."""
        if callable(value) and not isinstance(value, Tracked):
            first = hyper.check(value(getattr(self, "n", 0)), self._narrow, may_vanish=True)
            self._schedules[hyper.name] = value
            self._put(hyper.name, first)
        else:
            number = hyper.check(value, self._narrow)
            self._schedules.pop(hyper.name, None)
            self._put(hyper.name, number)

    def _put(self, name: str, value: float) -> None:
        self._values[name] = self.__dict__[name] = value
        self.__dict__["_turns"] += 1
        if value > LARGE_DIAL and self.hypers[name].off is None:
            self.__dict__["_wary"] = True
        if name in COMMON:  # whether the rule is all that there is to an update
            v = self._values
            off = {k: v.get(k) == h.default for k, h in self.hypers.items() if k in COMMON}
            self.__dict__["_bare"] = all(off[k] or (k == "weightdecay" and self.decoupled) for k in off)

    def __setattr__(self, name: str, value: Any) -> None:
        name = canonical(name)
        if not name.startswith("_"):
            there = getattr(type(self), name, None)
            if name not in self.hypers and getattr(there, "fset", None) is None:  # neither a dial nor its other name
                if not hasattr(type(self), name):
                    raise AttributeError(self._lacks(name))
                if name in _RESERVED or callable(there):
                    raise AttributeError(
                        f"{name} of an optimiser is not assigned; {self.name} has the dials {', '.join(self.hypers)}"
                    )
        object.__setattr__(self, name, value)

    @classmethod
    def _lacks(cls, name: str) -> str:
        words = f" ({WORDS[name]})" if name in WORDS else ""
        return f"{cls.__name__} has no {name}; it has {', '.join(cls.hypers)}{words}"

    def __getattr__(self, name: str) -> Any:
        folded = canonical(name)
        if folded != name:
            return getattr(self, folded)
        raise AttributeError(self._lacks(name))

    @property
    def values(self) -> dict[str, float]:
        """The hyper-parameters in force, by name."""
        return dict(self._values)

    @property
    def schedules(self) -> dict[str, Callable[[int], float]]:
        """The hyper-parameters that follow a function of n, by name."""
        return dict(self._schedules)

    def __repr__(self) -> str:
        changed = [f"{k}={v:g}" for k, v in self._values.items() if v != self.hypers[k].default or k == "η"]
        return f"{self.name}({len(self.params)} parameters{''.join(', ' + c for c in changed)})"

    # -- the update --------------------------------------------------------------------------------------

    def begin(self) -> tuple[float, ...]:
        """What `step` needs of numbers, for each update; handed to it as 0-d arrays of the right dtype, read-only."""
        return ()

    def step(self, δ: np.ndarray, s: Any, *numbers: Any) -> np.ndarray:
        """The rule: what is subtracted from the parameters.

        Parameters
        ----------
        δ : ndarray
            The gradient, flat, or a part of it; may be overwritten.
        s : namespace
            The state's arrays by name, `s.p` the parameters, `s.tmp` an array to scribble in; of δ's shape.
            `s.m = …` writes into the array, as `s.m[...] = …` does.
        *numbers : 0-d ndarray
            What `begin` returned.

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
        bad = self.bad_gradient()
        if bad is not None:
            self.clear()
            raise NotFinite(self.n + 1, math.nan, bad)
        self.update()

    def update(self) -> None:
        """`__call__`, for gradients that `bad_gradient` has looked at."""
        if self._schedules:
            check = {name: (self.hypers[name].check, f) for name, f in self._schedules.items()}
            due = {name: c(f(self.n), self._narrow, may_vanish=True) for name, (c, f) in check.items()}
            for name, value in due.items():
                self._put(name, value)
        if self._wary or self._copies:
            self._update_with_copy()
            return
        try:
            if self._own_rule:
                self._apply_own_rule()
            else:
                silently.run(self._apply)
        except BaseException as error:
            self._flat.updated()
            if not isinstance(error, NotFinite):
                error.add_note(
                    f"{self.name} was in the middle of update {self.n + 1}: some parameters and states may be updated, "
                    "others not. To have them as they were after the last whole update, go back: run.rewind(run.steps)"
                )
            raise

    def _apply_own_rule(self) -> None:
        """`_apply`, for a user's rule: as the user has set NumPy to warn or raise; it may use the package itself."""
        self._apply()
        self._clear_padding()  # the rule may take steps where the gradient is zero

    def _apply(self) -> None:
        numbers = self.begin()
        if numbers != self._given:
            self._give(numbers)
        if self._bare:
            for s, constants in self._blocks:
                np.subtract(s.p, self._rule(s.δ, s, *constants), s.p)
        else:
            self._update_with_all()
        self.__dict__["n"] += 1
        self._flat.updated()
        if self.n % FLUSH == 0:
            if self.state:
                self._flush()
            self._look_for_huge()

    def _update_with_copy(self) -> None:
        """The update that is undone if it raises, or if something is not finite afterwards.

        To copy a large model at every update would take longer than the update.  So that is done where a number
        may leave the range: at the first update, and where a gradient, a dial, a weight or a state is huge.
        """
        n, numbers = self.n, dict(vars(self._numbers))
        memory = [segment.p for segment in self._flat.segments] + [a for d in self._arrays for a in d.values()]
        before = [a.copy() for a in memory]
        serials = [p.updated for p in self.params]
        try:
            self._apply_own_rule() if self._own_rule else silently.run(self._apply)
            if self._wary:
                self._look_for_huge()
        except BaseException as error:
            for a, kept in zip(memory, before, strict=True):
                a[...] = kept
            for p, serial in zip(self.params, serials, strict=True):
                p.updated = serial  # a graph from before is not stale
            self.__dict__["n"] = n
            vars(self._numbers).update(numbers)
            self._flat.clear()
            if isinstance(error, NotFinite):
                error.kept = self._wary  # or else it comes from an update before
            raise

    def _look_for_huge(self) -> None:
        """See whether all is finite, and whether the next update may leave the range.

        Raises
        ------
        NotFinite
            Which says that the update before is not undone; `_update_with_copy` does that.
        """
        if self._own_rule:
            self._clear_padding(states=True)
        wary = any(v > LARGE_DIAL and self.hypers[k].off is None for k, v in self._values.items())
        for k, (segment, arrays) in enumerate(zip(self._flat.segments, self._arrays, strict=True)):
            largest = float(np.finfo(segment.p.dtype).max)
            for what, a, bound in [("", segment.p, largest**0.25), *((s, a, largest**0.75) for s, a in arrays.items())]:
                low, high = float(a.min(initial=0)), float(a.max(initial=0))
                if not (math.isfinite(low) and math.isfinite(high)):
                    places = zip(self.params, self._flat.places, strict=True)
                    bad = next((p for p, (i, cut) in places if i == k and not np.isfinite(a[cut]).all()), None)
                    error = NotFinite(self.n, math.nan, bad, what=f"state {what}" if what else "updated value")
                    error.kept = False
                    raise error
                wary |= low < -bound or high > bound
        self.__dict__["_wary"] = wary

    def _clear_padding(self, states: bool = False) -> None:
        for k, free in self._flat.padding:
            for a in (*self._flat.segments[k], *(self._arrays[k].values() if states else ())):
                a[free] = 0

    def _update_with_all(self) -> None:
        """The update where clipnorm, clip, weightdecay or decay is on."""
        scale = 1.0
        if self.clipnorm != math.inf:
            norm = self._norm()
            if norm > self.clipnorm:
                scale = self.clipnorm / norm
        bound = self.clip
        weightdecay = 0.0 if self.decoupled else self.weightdecay
        factor = 1 / (1 + self.decay * self.n)
        for s, constants in self._blocks:
            δ = s.δ
            if scale != 1:
                δ *= scale
            if bound != math.inf:
                np.clip(δ, -bound, bound, out=δ)
            if weightdecay:
                δ += np.multiply(s.p, weightdecay, out=s.tmp)
            if factor != 1 and self.decays_gradient:
                δ *= factor
            step = self._rule(δ, s, *constants)
            if factor != 1 and not self.decays_gradient:
                step = step * factor
            np.subtract(s.p, step, s.p)

    def _give(self, numbers: tuple[float, ...]) -> None:
        """Put the numbers into 0-d arrays, which NumPy takes faster than a Python float."""
        for dtype, constants in self._constants.items():
            if not constants:
                constants += [_constant(dtype) for _ in numbers]
            for i, number in enumerate(numbers):
                constants[i].base.fill(number)  # type: ignore[union-attr]
        self.__dict__["_given"] = numbers  # past __setattr__, which is for users

    def _norm(self) -> float:
        square = self._flat.square()
        if not math.isinf(square):
            return math.sqrt(square)
        # perhaps only the square is too large
        largest = max(float(np.max(np.abs(δ), initial=0)) for _, δ in self._flat.segments)
        if math.isinf(largest):
            return largest
        return largest * math.sqrt(sum(float(np.square(δ / largest).sum()) for _, δ in self._flat.segments))

    def _flush(self) -> None:
        # A gradient that stays 0 lets the state decay into denormal numbers, which are slow; what is taken for
        # 0 here cannot get there before the next time.
        for s, _ in self._blocks:
            tiny = np.finfo(s.p.dtype).tiny * 2.0**20
            for k in self.state:
                a = getattr(s, k)
                a *= np.abs(a, out=s.tmp) >= tiny

    # -- gradients ---------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Set the gradients of the optimiser's parameters to zero."""
        self._flat.clear()

    def bad_gradient(self) -> Param | None:
        """The first parameter whose gradient is not finite, if any."""
        flat = self._flat
        flat.settle()
        if flat.square() <= flat.limit:
            return None
        self.__dict__["_wary"] = True
        return flat.bad()

    @property
    def reached(self) -> int:
        """How many of the parameters had a gradient when it was last looked for a bad one."""
        return len(self.params) - self._flat.missed

    # -- state in and out --------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        # a copy gets flat memory of its own: the state's arrays and blocks are views
        return _restored, (type(self), self.params, self.state_dict(), self.schedules)

    def state_dict(self) -> dict[str, Any]:
        """All that the optimiser would need to go on from here, as copies.

        Returns
        -------
        dict
            `name`, `n`, `hypers` (name to value), `numbers` (name to value), `arrays` (name to a list with
            one array for each parameter, of its shape and dtype).

        Raises
        ------
        TypeError
            If the rule keeps a number that the class does not declare, or something that is no number.
        """
        kept = vars(self._numbers)
        for k, v in kept.items():
            if k not in self.numbers:
                raise TypeError(f"{self.name} keeps a number {k} that it does not declare: numbers = {{{k!r}: {v!r}}}")
            if isinstance(v, bool) or not isinstance(v, (int, float, np.number)):
                raise TypeError(f"{self.name}: {k} is no number but a {type(v).__name__}; arrays go into `state`")
        return {
            "name": self.name,
            "n": self.n,
            "hypers": dict(self._values),
            "numbers": dict(kept),
            "arrays": {
                k: [
                    self._arrays[i][k][cut].reshape(p.shape).copy()
                    for p, (i, cut) in zip(self.params, self._flat.places, strict=True)
                ]
                for k in self.state
            },
        }

    def load_state_dict(self, d: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave.  All is checked before anything is assigned.

        Raises
        ------
        ValueError
            If it belongs to another optimiser or other parameters, or a value is out of bounds.
        """
        wrong = []
        missing = {"name", "n", "hypers", "numbers", "arrays"} - set(d)
        if missing:
            raise ValueError(f"{self.name}: the state lacks {', '.join(sorted(missing))}")
        if d["name"] != self.name:
            wrong.append(f"it is of {d['name']}")
        if not isinstance(d["n"], (int, np.integer)) or d["n"] < 0:
            wrong.append(f"n is {d['n']!r}")
        for what, keys in (("hypers", self.hypers), ("numbers", self.numbers), ("arrays", self.state)):
            if set(d[what]) != set(keys):
                wrong.append(f"its {what} are {', '.join(d[what]) or 'none'}, not {', '.join(keys) or 'none'}")
        values = {}
        for name, value in d["numbers"].items():
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
                wrong.append(f"{name} is {value!r}")
        for name, value in d["hypers"].items():
            if name in self.hypers:
                try:
                    values[name] = self.hypers[name].check(value, self._narrow, may_vanish=True)
                except (TypeError, ValueError) as error:
                    wrong.append(str(error))
        for k, arrays in d["arrays"].items():
            if len(arrays) != len(self.params):
                wrong.append(f"{k} is of {len(arrays)} parameters, not {len(self.params)}")
                continue
            for i, (a, p) in enumerate(zip(arrays, self.params, strict=True)):
                a = np.asarray(a)
                if a.shape != p.shape or a.dtype != p.dtype:
                    wrong.append(f"{k}[{i}] is {a.dtype} of shape {a.shape}, the parameter {p.dtype} of {p.shape}")
        if wrong:
            raise ValueError(f"{self.name} cannot take this state: " + "; ".join(wrong))
        for name, value in values.items():
            self._put(name, value)
        object.__setattr__(self, "n", int(d["n"]))
        object.__setattr__(self, "_wary", True)
        vars(self._numbers).update({k: float(v) for k, v in d["numbers"].items()})
        for k, arrays in d["arrays"].items():
            for a, (i, cut) in zip(arrays, self._flat.places, strict=True):
                self._arrays[i][k][cut] = np.asarray(a).reshape(-1)


class Block:
    """What a rule works on: `p`, `δ`, `tmp` and the states by name.  To assign one writes into its array.

    A state lies in memory that is saved, restored and flushed: an array put in its place would be none of that.
    """

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.__dict__.update(arrays)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __setattr__(self, name: str, value: Any) -> None:
        array = self.__dict__.get(name)
        if array is None:
            raise AttributeError(
                f"s has no {name}, it has {', '.join(self.__dict__)}; to keep an array from one update to the next, "
                f'declare it in the class: state = ("{name}",)'
            )
        if value is not array:
            array[...] = value


def _constant(dtype: np.dtype[Any]) -> np.ndarray:
    """A 0-d array that is written through its base alone: a rule cannot spoil it for the next time."""
    constant = np.zeros((), dtype).view()
    constant.flags.writeable = False
    return constant


def _refusing_no_arguments(rule: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """The rule, for whoever calls `opt.step()` as in other libraries."""

    @wraps(rule)
    def step(self: Optimiser, *args: Any, **options: Any) -> np.ndarray:
        if not args and not options:
            raise TypeError(f"opt.step() is opt() here: an update of {self.name}; step(δ, s) is its rule")
        return rule(self, *args, **options)

    return step


def _alias(name: str) -> property:
    return property(
        lambda self: getattr(self, name), lambda self, value: setattr(self, name, value), doc=f"The same as {name}."
    )


def _checked(params: Any, name: str) -> list[Param]:
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
    cls: type[Optimiser],
    params: list[Param],
    state: dict[str, Any],
    schedules: dict[str, Callable[[int], float]],
) -> Optimiser:
    opt = cls(params, **schedules)
    opt.load_state_dict(state)
    return opt


_RESERVED = frozenset(k for k in (*dir(Optimiser), "params", "n") if not isinstance(vars(Optimiser).get(k), Hyper))
