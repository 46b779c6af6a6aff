"""Steps that are refused or fail: nothing is updated, and the gradients are cleared."""

import pickle

import numpy as np
import pytest

from fluxmagic import (
    SGD,
    Chain,
    Dense,
    Momentum,
    NotFinite,
    Run,
    mse,
    param,
    params,
    train,
)
from fluxmagic.tracker import hook, update


def spoiled(W, kind):
    """A loss that goes wrong in the third batch."""
    if kind == "loss":
        return lambda x: W.sum() * x * (np.inf if x == 3 else 1)
    if kind == "nan":
        return lambda x: W.sum() * x * (np.nan if x == 3 else 1)
    if kind == "gradient":
        return lambda x: hook(lambda Δ: Δ * (np.nan if x == 3 else 1), W).sum() * x
    if kind == "shape":
        return lambda x: W * x if x == 3 else W.sum() * x
    if kind == "plain":
        return lambda x: 1.0 if x == 3 else W.sum() * x
    return lambda x: W.sum() * x if x != 3 else 1 / 0


ERRORS = {
    "loss": (NotFinite, "step 3: the loss is inf; nothing was updated"),
    "nan": (NotFinite, "step 3: the loss is nan; nothing was updated"),
    "gradient": (NotFinite, r"step 3: the gradient of a parameter of shape \(2,\) is not finite \(loss"),
    "shape": (ValueError, r"the loss has shape \(2,\), and has to be a scalar: reduce it"),
    "plain": (TypeError, "the loss reaches no parameter: it is a plain float"),
    "error": (ZeroDivisionError, "division by zero"),
}


@pytest.mark.parametrize("own", [False, True], ids=["optimiser", "function"])
@pytest.mark.parametrize("kind", ERRORS)
def test_a_step_that_is_refused_updates_nothing_and_clears_the_gradients(kind, own):
    W, other, calls = param([1.0, 2.0]), param(1.0), []
    opt = Momentum([W], 0.1)

    def by_hand():
        update(W, -0.1 * W.grad)

    error, message = ERRORS[kind]
    with pytest.raises(error, match=message) as caught:
        train(spoiled(W, kind), [1.0, 2.0, 3.0, 4.0], by_hand if own else opt, cb=lambda: calls.append(W.data.copy()))
    assert len(calls) == 2
    assert (W.data == calls[-1]).all()
    assert not W.grad.any()
    assert other.data == 1.0
    if not own:
        assert opt.n == 2
    if error is NotFinite:
        assert caught.value.step == 3
        assert (caught.value.parameter is W) == (kind == "gradient")
        assert np.isfinite(caught.value.loss) == (kind == "gradient")


def test_a_gradient_too_large_to_square_is_finite_all_the_same():
    W = param(np.zeros(3, np.float32))
    train(lambda x: (W * x).sum(), [np.float32(1e30)], SGD([W], 1e-30))
    np.testing.assert_allclose(W.data, -1, rtol=1e-5)


def test_of_several_optimisers_none_is_called_when_one_gradient_is_bad():
    W, b = param(1.0), param(1.0)
    loss = lambda x: W * x + hook(lambda Δ: Δ * np.inf, b)
    with pytest.raises(NotFinite) as caught:
        train(loss, [1.0], [SGD([W], 0.1), SGD([b], 0.1)])
    assert caught.value.parameter is b
    assert W.data == b.data == 1.0
    assert W.grad == b.grad == 0.0


def test_an_update_that_fails_leaves_no_gradient():
    W = param(1.0)

    def broken():
        raise RuntimeError("no disk")

    with pytest.raises(RuntimeError, match="no disk"):
        train(lambda x: W * x, [1.0], broken)
    assert W.grad == 0


def test_an_error_of_a_callback_comes_after_the_update():
    W = param(1.0)
    with pytest.raises(ZeroDivisionError):
        train(lambda x: W * x, [1.0, 1.0], SGD([W], 0.1), cb=lambda: 1 / 0)
    assert W.data == pytest.approx(0.9)


def test_train_and_a_run_take_the_same_steps():
    def made():
        m = Chain(Dense(3, 4, np.tanh, rng=0), Dense(4, 1, rng=1))
        rng = np.random.default_rng(2)
        data = [(rng.normal(size=(4, 3)), rng.normal(size=(4, 1))) for _ in range(10)]
        return m, lambda x, y: mse(m(x), y), data

    m, loss, data = made()
    train(loss, data, Momentum(params(m), 0.05))
    other, loss, data = made()
    Run(loss, data, Momentum(params(other), 0.05)).train()
    for p, q in zip(params(m), params(other), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_not_finite_survives_pickling():
    error = pickle.loads(pickle.dumps(NotFinite(3, 0.5, param([1.0]), "[0].W")))
    assert (error.step, error.loss, error.name) == (3, 0.5, "[0].W")
    assert str(error).startswith("step 3: the gradient of [0].W is not finite (loss 0.5)")


def test_a_run_that_diverges_raises_notfinite_and_does_not_warn_as_well() -> None:
    W = param(np.array([1e30], np.float32))
    with pytest.raises(NotFinite):  # warnings are errors here, and would come first
        train(lambda x: ((W * x) ** 2).sum(), [np.float32(1e10)] * 3, SGD([W], 0.1))
    assert np.geterr()["over"] == "warn"


def test_who_asked_numpy_to_raise_is_not_silenced() -> None:
    W = param(np.array([1e30], np.float32))
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        train(lambda x: ((W * x) ** 2).sum(), [np.float32(1e10)], SGD([W], 0.1))
