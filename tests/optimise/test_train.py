"""The training loop: one checked step, whole or not at all, and what goes around it."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import textwrap

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
from fluxmagic.tracker import grad, hook, update


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
    train(loss, [(1, 2), a, (a,), 3.0], SGD([W], 0.1))
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


# -- refused before anything is updated ------------------------------------------------------------------


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


# -- interrupts --------------------------------------------------------------------------------------------


def test_an_interrupt_lets_the_batch_end_and_then_leaves_train():
    W, before = param(1.0), signal.getsignal(signal.SIGINT)

    def loss(x):
        if x == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return W * 1.0

    seen = []
    with pytest.raises(KeyboardInterrupt):
        train(loss, [1, 2, 3], SGD([W], 0.1), cb=lambda: seen.append(float(W)))
    assert seen == pytest.approx([0.9, 0.8])
    assert W.grad == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_stops_at_once_and_clears_the_gradients():
    W = param(1.0)

    def loss(x):
        l = W * 1.0
        if x == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return l

    with pytest.raises(KeyboardInterrupt):
        train(loss, [1, 2, 3], SGD([W], 0.1))
    assert W.data == pytest.approx(0.9)
    assert W.grad == 0


def test_an_interrupt_in_the_last_batch_is_not_lost():
    W = param(1.0)

    def loss(x):
        os.kill(os.getpid(), signal.SIGINT)
        return W * 1.0

    with pytest.raises(KeyboardInterrupt):
        train(loss, [1], SGD([W], 0.1))
    assert W.data == pytest.approx(0.9)


def test_train_in_another_thread_leaves_signals_alone():
    from concurrent.futures import ThreadPoolExecutor

    W = param(1.0)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(train, lambda x: W * x, [1.0], SGD([W], 0.1)).result()
    assert W.data == pytest.approx(0.9)


def press_at(number, W):
    """A loss that is interrupted in the batch of that number."""

    def loss(x):
        if x == number:
            os.kill(os.getpid(), signal.SIGINT)
        return W * 1.0

    return loss


def test_an_interrupt_goes_to_the_handler_that_was_there_before():
    W, heard = param(1.0), []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append((number, float(W))))
    try:
        train(press_at(2, W), [1, 2, 3], SGD([W], 0.1))
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [(signal.SIGINT, pytest.approx(0.8))]  # when the batch was done
    assert W.data == pytest.approx(0.7)  # it did not end the loop


def test_in_a_task_an_interrupt_cancels_the_task_and_raises_nothing_in_the_event_loop():
    W, ended = param(1.0), []

    async def main():
        try:
            train(press_at(2, W), [1, 2, 3], SGD([W], 0.1))
        except BaseException as error:
            ended.append(type(error))
            raise

    with pytest.raises(KeyboardInterrupt):  # what asyncio.run makes of it
        asyncio.run(main())
    assert ended == [asyncio.CancelledError]
    assert W.data == pytest.approx(0.8)


def test_an_interrupt_in_the_turn_of_a_task_belongs_to_whoever_awaits():
    W, ended = param(1.0), []
    run = Run(press_at(20, W), range(100_000), SGD([W], 0.0))

    async def trained():
        while run.steps < 200:
            run.advance(0.0)
            await asyncio.sleep(0)
        ended.append("trained")

    async def waiting():
        task = asyncio.create_task(trained())
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
        await task

    asyncio.run(waiting())
    assert ended == ["cancelled", "trained"]
    assert run.state == "running"


def test_an_awaited_run_that_is_interrupted_pauses():
    W = param(1.0)
    run = Run(press_at(20, W), range(100_000), SGD([W], 0.0))

    async def main():
        await run

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert run.state == "paused"


def test_an_interrupt_of_a_loop_within_a_loop_ends_both():
    W, V, seen = param(1.0), param(1.0), []

    def outer(x):
        train(press_at(2, V), [1, 2, 3], SGD([V], 0.1), cb=lambda: seen.append(float(V)))
        return W * 1.0

    with pytest.raises(KeyboardInterrupt):
        train(outer, [1, 2], SGD([W], 0.1))
    assert seen == pytest.approx([0.9, 0.8])
    assert W.data == 1.0
    with pytest.raises(KeyboardInterrupt):  # in a turn of a run within a loop: when the turn is over
        train(lambda x: Run(press_at(2, V), [1, 2, 3], SGD([V], 0.1)).advance(1.0) or W * 1.0, [1, 2], SGD([W], 0.1))
    assert W.data == pytest.approx(0.9)


@pytest.mark.skipif(os.name != "posix", reason="signals between processes")
@pytest.mark.parametrize("opt", ["ADAM", "Mine"])
def test_ctrl_c_from_outside_never_leaves_an_update_half_done(opt):
    """Every element gets the same gradient: after an update that was whole all are equal."""
    script = """
        import sys
        import numpy as np
        from fluxmagic import ADAM, param, train
        from fluxmagic.optimise import Optimiser
        class Mine(Optimiser):
            state = ("m",)
            def step(self, δ, s):
                s.m = 0.9 * s.m + δ
                return 1e-4 * s.m
        W = param(np.ones(300_000))
        def data():
            print("going", flush=True)
            while True:
                yield 1.0
        try:
            train(lambda x: (W * x).sum(), data(), OPT([W]))
        except KeyboardInterrupt:
            print("interrupted", len(np.unique(W.data)), W.grad.any(), W.data[0] < 1)
            sys.exit(0)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script).replace("OPT", opt)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "going\n"
        try:
            child.wait(0.5)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert out == "interrupted 1 False True\n", err


def test_a_run_that_diverges_raises_notfinite_and_does_not_warn_as_well() -> None:
    W = param(np.array([1e30], np.float32))
    with pytest.raises(NotFinite):  # warnings are errors here, and would come first
        train(lambda x: ((W * x) ** 2).sum(), [np.float32(1e10)] * 3, SGD([W], 0.1))
    assert np.geterr()["over"] == "warn"


def test_who_asked_numpy_to_raise_is_not_silenced() -> None:
    W = param(np.array([1e30], np.float32))
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        train(lambda x: ((W * x) ** 2).sum(), [np.float32(1e10)], SGD([W], 0.1))
