"""The training loop: one checked step, whole or not at all, and what goes around it."""

import numpy as np
import pytest

import fluxmagic
from fluxmagic import (
    ADAM,
    ADAMW,
    SGD,
    Chain,
    Dense,
    Momentum,
    NotFinite,
    RMSProp,
    Run,
    back,
    gradient,
    mse,
    param,
    params,
    train,
)
from fluxmagic.optimise import throttle
from fluxmagic.tracker import grad, update


def test_train_is_loss_back_update_callback_for_each_batch():
    W, seen = param(1.0), []
    train(lambda x: (W - x) ** 2, [0.0, 1.0, 2.0], SGD([W], 0.25), cb=lambda: seen.append(float(W)))
    expected, w = [], 1.0
    for x in (0.0, 1.0, 2.0):
        w -= 0.25 * 2 * (w - x)
        expected.append(w)
    assert seen == pytest.approx(expected)


def test_a_batch_is_a_tuple_of_arguments_or_a_single_array():
    W, seen = param(1.0), []

    def loss(*args):
        seen.append(args)
        return W * 1.0

    a = np.ones(2)
    train(loss, [(1, 2), a, (a,), 3.0], SGD([W], 0.1), capture=False)  # which hands over arrays of its own
    assert seen[0] == (1, 2)
    assert seen[1][0] is a
    assert seen[2][0] is a
    assert seen[3] == (3.0,)


def test_data_may_be_a_generator():
    W = param(1.0)
    train(lambda x: W * x, (x for x in (1.0, 2.0)), SGD([W], 0.1))
    assert W.data == pytest.approx(0.7)


def test_a_plain_function_can_stand_for_an_optimiser():
    W, b = param([[1.0, 2.0]]), param([0.5])

    def sgd(η=0.1):
        for p in (W, b):
            update(p, -η * grad(p))

    x, y = np.array([1.0, 1.0]), np.array([2.0])
    train(lambda x, y: ((W @ x + b - y) ** 2).sum(), [(x, y)] * 100, sgd)
    assert mse(W @ x + b, y) < 1e-9


def test_opt_and_cb_may_be_lists():
    W, b, seen = param(1.0), param(1.0), []
    train(
        lambda x: W * x + b * x,
        [1.0, 1.0],
        [SGD([W], 0.1), Momentum([b], 0.2)],
        cb=[lambda: seen.append("no argument"), lambda l: seen.append(l)],
    )
    assert W.data == pytest.approx(0.8)
    assert b.data == pytest.approx(1 - 0.2 - 0.38)
    assert seen == ["no argument", 2.0, "no argument", pytest.approx(1.7)]


def seen_by(W, seen):
    """A plain function in the place of an optimiser, that notes the gradient."""

    def f():
        seen.append(W.grad.tolist())
        update(W, 0 * W.grad)

    return f


@pytest.mark.parametrize("cls", [SGD, Momentum, ADAM, ADAMW, RMSProp])
def test_each_of_several_optimisers_gets_the_gradient_of_the_batch(cls):
    W, V, b, seen = param([1.0, 2.0]), param(3.0), param(4.0), []
    first = cls([W, b], 0.1, weightdecay=0.5)
    opts = [seen_by(W, seen), first, seen_by(W, seen), SGD([V, W], 0.1), seen_by(W, seen), seen_by(b, seen)]
    train(lambda x: (W * W).sum() / 2 + V * x, [1.0], opts)
    assert seen == [[1.0, 2.0]] * 3 + [0.0]
    alone = param([1.0, 2.0])
    opt = cls([alone], 0.1, weightdecay=0.5)
    back((alone * alone).sum() / 2)
    opt()
    np.testing.assert_allclose(W.data, alone.data - 0.1 * np.array([1.0, 2.0]))
    assert V.data == pytest.approx(2.9)
    assert not any(p.grad.any() for p in (W, V, b))


@pytest.mark.parametrize(("cls", "right"), [(SGD, 0.8), (ADAM, 0.8)])
def test_two_optimisers_of_one_parameter_both_act(cls, right):
    W = param(1.0)
    train(lambda x: W * W / 2, [0], [cls([W], 0.1), SGD([W], 0.1)])
    assert W.data == pytest.approx(right)


def test_an_update_that_overflows_keeps_the_weights_of_the_last_good_step():
    W, path = param(np.ones(2, np.float32)), []
    run = Run(lambda x: (W * W * W).sum() * x, [np.float32(1)] * 30, Momentum([W], 1.0), model={"W": W})
    with pytest.raises(NotFinite, match=r"the (updated value|loss|gradient|state v)") as caught:
        run.train(cb=lambda: path.append(W.data.copy()))
    assert np.isfinite(W.data).all()
    np.testing.assert_array_equal(W.data, path[-1])
    assert caught.value.step == len(path) + 1

    W, path = param(np.array([3e38], np.float32)), []
    opt = SGD([W], 3e38)
    with pytest.raises(
        NotFinite, match=r"step 2: the updated value of a parameter of shape \(1,\) is not finite \(loss"
    ) as c:
        train(lambda x: (W * x).sum(), np.float32([1e-30, -1]), opt, cb=lambda: path.append(W.data.copy()))
    assert (c.value.parameter, c.value.step, c.value.largest, c.value.largest_gradient) == (W, 2, W, 1.0)
    assert W.data == path[-1]
    assert opt.n == 1


def test_a_run_records_an_update_that_was_refused_and_goes_on():
    W = param(np.zeros(1, np.float32))
    data = np.float32([1, 1, 1e20, 1, 1])
    run = Run(lambda x: (W * x).sum(), data, ADAM([W]), model={"W": W})
    with pytest.raises(NotFinite, match=r"step 3: the state u of \['W'\] is not finite \(loss .*; nothing was updated"):
        run.train()
    run.train()
    assert (run.steps, run.opt.n) == (5, 4)
    end = W.data.copy()
    run.replay()
    assert W.data == end


def test_a_callback_that_takes_an_argument_gets_the_loss_as_a_float():
    W, seen = param(np.float32(2)), []
    train(lambda x: W * x, [1.0], SGD([W], 0.1), cb=lambda l: seen.append(l))
    assert seen == [2.0]
    assert type(seen[0]) is float


@pytest.mark.parametrize("opt", [lambda W: SGD([W], 0.1), lambda W: lambda: update(W, -0.1 * grad(W))])
def test_gradients_from_before_do_not_count(opt):
    W = param(1.0)
    back(W * 100.0)
    train(lambda x: W * x, [1.0], opt(W))
    assert W.data == pytest.approx(0.9)


def test_the_loss_may_hold_a_gradient_itself():
    m = Chain(Dense(1, 8, np.tanh, rng=0, dtype=np.float64), Dense(8, 1, rng=1, dtype=np.float64))
    x = np.linspace(0, 1, 5)[:, None]

    def loss(x):
        slope = gradient(lambda x: m(x).sum(), x)[0]
        return ((slope - 1) ** 2).mean()

    first = float(loss(x))
    train(loss, [x] * 100, SGD(params(m), 0.05))
    assert float(loss(x)) < first / 10


@pytest.mark.parametrize("opt", [3, "SGD", np.ones(2), [SGD([param(1.0)]), None]])
def test_what_cannot_be_called_is_no_optimiser(opt):
    with pytest.raises(TypeError, match="opt is an optimiser or a function, not a"):
        train(lambda x: x, [1.0], opt)


# -- stop, throttle --------------------------------------------------------------------------------------


def test_stop_in_a_callback_ends_the_loop_at_once_after_the_update():
    W, later = param(1.0), []
    train(
        lambda x: W * x,
        [1.0] * 5,
        SGD([W], 0.1),
        cb=[lambda l: l < 0.85 and fluxmagic.stop(), lambda: later.append(float(W))],
    )
    assert W.data == pytest.approx(0.7)
    assert later == pytest.approx([0.9, 0.8])


def test_stop_outside_a_loop_says_so():
    with pytest.raises(Exception, match="none is running"):
        fluxmagic.stop()


def test_throttle_calls_at_most_once_in_its_seconds(monkeypatch):
    now, calls = [100.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    @lambda f: throttle(f, 5)
    def show(l, *, and_then=""):
        """Show it."""
        calls.append((l, and_then))
        return "shown"

    assert show(1, and_then="x") == "shown"
    for t, expected in ((104.9, None), (105.0, "shown"), (109.0, None), (120.0, "shown")):
        now[0] = t
        assert show(t) == expected
    assert calls == [(1, "x"), (105.0, ""), (120.0, "")]
    assert show.__doc__ == "Show it."


def test_a_throttled_callback_still_gets_the_loss():
    W, seen = param(1.0), []
    train(lambda x: W * x, [1.0] * 3, SGD([W], 0.1), cb=throttle(lambda l: seen.append(l), 1000))
    assert seen == [1.0]
