"""What `train` and a run are given: batches of every kind, and errors that say what is wrong with the rest."""

import re
from typing import NamedTuple

import numpy as np
import pytest

import fluxmagic
from fluxmagic import ADAM, SGD, Chain, Dense, NotFinite, Run, back, batches, mse, param, params, train
from fluxmagic.optimise import Hyper, Optimiser
from fluxmagic.tracker import update


class Batch(NamedTuple):
    x: float
    y: float


TRAINERS = {
    "train": train,
    "run": lambda loss, data, opt, cb=None: Run(loss, data, opt).train(cb=cb),
}


@pytest.fixture(params=TRAINERS)
def trained(request):
    """Train, by the function or by a run."""
    return TRAINERS[request.param]


@pytest.mark.parametrize("batch", [(2.0, 3.0), Batch(2.0, 3.0), [2.0, 3.0], [np.array(2.0), np.array(3.0)]])
def test_a_tuple_a_named_one_and_a_list_are_unpacked_alike(trained, batch):
    W, seen = param(1.0), []

    def loss(x, y):
        seen.append((float(x), float(y)))
        return W * x * y

    trained(loss, [batch, batch], SGD([W], 0.1))
    assert seen == [(2.0, 3.0)] * 2
    assert W.data == pytest.approx(1 - 2 * 0.6)


def test_an_array_is_one_argument():
    W, seen = param(1.0), []
    train(lambda *args: seen.append(args) or W * 1.0, [np.ones(2)], SGD([W], 0.1))
    assert len(seen[0]) == 1


def test_data_may_be_anything_that_can_be_iterated_over_and_nothing_else():
    class Rows:
        def __getitem__(self, i):
            return [1.0, 2.0][i]  # ends with an IndexError

    W = param(1.0)
    train(lambda x: W * x, Rows(), SGD([W], 0.1))
    assert W.data == pytest.approx(0.7)
    for wrong in (3, None):
        with pytest.raises(TypeError, match=r"data gives batches when iterated over, and a (int|NoneType) does not"):
            train(lambda x: W * x, wrong, SGD([W], 0.1))
    with pytest.raises(TypeError, match="loss is a function of a batch, not a Param"):
        train(W, [1.0], SGD([W], 0.1))


@pytest.mark.parametrize("cb", [3, [lambda: None, 3], [None], "print"])
def test_a_callback_that_cannot_be_called_is_refused_before_the_first_update(trained, cb):
    W = param(1.0)
    with pytest.raises(TypeError, match=r"cb is a function or a list of functions, and .* is a"):
        trained(lambda x: W * x, [1.0], SGD([W], 0.1), cb=cb)
    assert W.data == 1


def test_a_generator_for_several_epochs_is_refused_at_the_start():
    W = param(1.0)
    with pytest.raises(ValueError, match="function"):
        Run(lambda x: W * x, (x for x in [1.0]), SGD([W], 0.1), epochs=2)


@pytest.mark.parametrize(
    ("opt", "words"),
    [
        (SGD, r"opt is the class SGD: make an optimiser of it, SGD\(params\(m\)\)"),
        ([], r"or a list with at least one of them, not \[\]"),
        (None, "or a list with at least one of them, not None"),
        (3, "opt is an optimiser or a function, not a int"),
        (Dense(2, 1), r"this Dense takes some: of a model make an optimiser, SGD\(params\(model\)\)"),
        (lambda ps: None, "opt is called without arguments, and this function takes some"),
    ],
)
def test_what_is_no_optimiser_is_refused_before_the_first_batch(opt, words):
    W, seen = param(1.0), []
    with pytest.raises(TypeError, match=words):
        train(lambda x: seen.append(x) or W * x, [1.0], opt)
    assert not seen


def test_a_run_refuses_a_model_in_place_of_an_optimiser():
    model = Chain(Dense(2, 1))
    with pytest.raises(TypeError, match=r"this Chain takes some: .* SGD\(params\(model\)\)"):
        Run(lambda x, y: mse(model(x), y), [], model)


def test_a_class_in_a_list_of_optimisers_is_refused():
    W = param(1.0)
    for take in (lambda *a: train(*a), lambda *a: Run(*a)):
        with pytest.raises(TypeError, match="opt is the class ADAM"):
            take(lambda x: W * x, [1.0], [SGD([W], 0.1), ADAM])


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda W: None, "the loss function returns None: let it return the loss"),
        (lambda W: (W * 1.0, 3), "returns a tuple of 2: let it return the loss alone, a scalar"),
        (lambda W: [W * 1.0], "returns a list of 1: let it return the loss alone"),
        (lambda W: {"loss": W * 1.0}, "returns a dict of 1"),
        (lambda W: "0.5", "returns the text '0.5'"),
        (lambda W: 0.5, "the loss reaches no parameter: it is a plain float"),
        (lambda W: np.ones(3), r"it is a plain array of shape \(3,\)"),
        (lambda W: W.data * 2, "the loss reaches no parameter: it is a plain float64"),
    ],
)
def test_a_loss_that_returns_something_else_is_told_what(trained, returned, words):
    W = param(1.0)
    with pytest.raises(TypeError, match=words):
        trained(lambda x: returned(W), [1.0], SGD([W], 0.1))
    assert W.data == 1


@pytest.mark.parametrize(
    ("loss", "batch", "words"),
    [
        (lambda: 1 / 0, np.ones(2), r"a loss without a batch is trained with data = \[\(\)\] \* steps"),
        (lambda x: x, [1, 2, 3], "the batch is a list of 3"),
        (lambda x, y, z: x, Batch(1, 2), "the batch is a Batch of 2"),
    ],
)
def test_a_loss_that_does_not_take_the_batch_is_told_so(trained, loss, batch, words):
    with pytest.raises(TypeError, match=words):
        trained(loss, [batch], SGD([param(1.0)], 0.1))


def test_a_loss_without_a_batch_is_trained_with_empty_tuples(trained):
    W = param(1.0)
    trained(lambda: W * 1.0, [()] * 3, SGD([W], 0.1))
    assert W.data == pytest.approx(0.7)


def test_an_error_within_the_loss_stays_what_it_is(trained):
    with pytest.raises(TypeError, match="unsupported operand"):
        trained(lambda x: x + None, [1.0], SGD([param(1.0)], 0.1))


def test_nan_in_the_data_is_said_with_its_place(trained):
    m = Chain(Dense(4, 1))
    x = np.ones((8, 4), np.float32)
    x[5, 3] = np.nan
    with pytest.raises(NotFinite) as caught:
        trained(lambda x, y: mse(m(x), y), [(x, np.ones((8, 1), np.float32))], SGD(params(m), 0.1))
    assert str(caught.value) == "step 1: the loss is nan; nothing was updated. x has 1 NaN (row 5, column 3)"


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.array([1.0, np.nan, np.nan]), r"x has 2 NaN \(the first: row 1\)$"),
        (np.array([1.0, 1.0, -np.inf]), r"x has 1 infinite \(row 2\)$"),
        (np.full((2, 2, 3), np.nan), r"x has 12 NaN \(the first: index \(0, 0, 0\)\)$"),
        (np.nan, "x has 1 NaN$"),
        ([1.0], "A smaller η or clipnorm may help$"),
        (np.array([1, 2]), "A smaller η or clipnorm may help$"),
    ],
)
def test_where_data_is_not_finite(x, words):
    W = param(1.0)
    with pytest.raises(NotFinite, match=words):
        train(lambda x: (W * x).sum() * np.nan, [(x,)], SGD([W], 0.1))


def test_all_batches_arguments_are_looked_at_by_their_names():
    W = param(1.0)
    with pytest.raises(NotFinite, match=r"first has 1 NaN \(row 0\), labels has 1 infinite \(row 1\)$"):
        train(
            lambda first, labels: (W * first).sum() + labels.sum(),
            [(np.array([np.nan]), np.array([0.0, np.inf]))],
            SGD([W], 0.1),
        )
    with pytest.raises(NotFinite, match="argument 2 of the loss has 1 NaN"):
        train(lambda *xs: (W * xs[1]).sum(), [(np.ones(1), np.array([np.nan]))], SGD([W], 0.1))


def test_a_run_with_several_optimisers_says_so(tmp_path):
    W = param(1.0)
    run = Run(lambda x: W * x, [1.0] * 3, [SGD([W], 0.1), ADAM([W])])
    run.step()
    for act in (lambda: run.set(η=0.1), lambda: run.swap("ADAM"), lambda: run.save(tmp_path / "run")):
        with pytest.raises(TypeError, match=r"SGD \+ ADAM is a list of optimisers"):
            act()


@pytest.mark.parametrize("drive", [Run.train, Run.step, lambda run: run.step(3), lambda run: run.advance(60.0)])
@pytest.mark.parametrize("when", [1, 2])
def test_stop_in_the_loss_ends_the_run_however_it_is_driven(drive, when):
    W = param(1.0)

    def loss(x):
        if x == when:
            fluxmagic.stop()
        return W * 1.0

    run = Run(loss, [1, 2, 3], SGD([W], 0.1))
    while run.state in ("ready", "paused"):
        drive(run)
    assert (run.state, run.steps) == ("stopped", when - 1)


# -- batches that do not fit the loss ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((np.ones((3, 2)), np.ones((3, 2))), r"'y': the batch is one array of shape \(3, 2\), and .* \[\(X, Y\)\]"),
        (batches(np.ones((4, 2)), 2), r"the batch is one array of shape \(2, 2\), .* batches\(X, Y, 32\) cuts"),
        ([1.0], "the batch is one float"),
        ([(1.0, 2.0, 3.0)], "the batch is a tuple of 3"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("run", [False, True])
def test_a_batch_that_does_not_fit_the_losss_arguments_says_how_data_is_given(data, says, run):
    W = param(np.ones(2))
    loss = lambda x, y: ((W * x - y) ** 2).sum()
    with pytest.raises(TypeError, match=r"positional arguments?.*: the batch is .*") as caught:
        Run(loss, data, SGD([W], 0.1)).train() if run else train(loss, data, SGD([W], 0.1))
    assert re.search(says, str(caught.value))
    assert W.data.tolist() == [1, 1]


def test_an_error_of_arguments_within_the_loss_stays_as_it_is():
    W = param(1.0)

    def inner(a, b):
        return a

    with pytest.raises(TypeError, match=r"argument: 'b'$"):
        train(lambda x: inner(W * x), [1.0], SGD([W], 0.1))


# -- words of other libraries, and assignments that would be lost -------------------------------------------


@pytest.mark.parametrize(
    "name", ["step", "update", "clear", "state_dict", "decay_on", "constants", "n_reached", "values"]
)
def test_a_method_of_an_optimiser_is_not_overwritten(name):
    opt = SGD([param(1.0)])
    with pytest.raises(AttributeError, match=f"{name} of an optimiser is not assigned; SGD has the dials η, decay"):
        setattr(opt, name, 3)


def test_a_class_attribute_of_ones_own_is_assigned():
    class Warm(SGD):
        length = 10

    opt = Warm([param(1.0)])
    opt.length = 20
    assert opt.length == 20


def test_opt_step_and_zero_grad_lead_to_opt():
    opt = ADAM([param(1.0)])
    with pytest.raises(TypeError, match=r"opt\.step\(\) is opt\(\) here: an update of ADAM"):
        opt.step()
    for name, words in (("zero_grad", r"opt\(\) clears the gradients itself"), ("param_groups", r"opt\.η = 0\.01")):
        with pytest.raises(AttributeError, match=f"ADAM has no {name}; .*{words}"):
            getattr(opt, name)
    with pytest.raises(AttributeError, match=r"ADAM has no lr; .*\(the learning rate is η"):
        opt.lr = 0.1
    with pytest.raises(TypeError, match=r"SGD has no momentum; .*\(Momentum and Nesterov have ρ"):
        SGD([param(1.0)], momentum=0.9)


def test_a_rule_may_call_the_rule_that_it_extends():
    class Half(ADAM):
        """ADAM, by halves."""

        η = Hyper(0.1, "learning rate")

        def step(self, δ, s, *numbers):
            """Half a step."""
            return super().step(δ, s, *numbers) / 2

    assert Half.step.__doc__ == "Half a step."
    p, q = param([1.0, 2.0]), param([1.0, 2.0])
    for opt, x in ((Half([p]), p), (ADAM([q], 0.05), q)):
        for _ in range(3):
            back((x * np.array([1.0, 2.0])).sum())
            opt()
    np.testing.assert_allclose(p.data, q.data)
    with pytest.raises(TypeError, match="an update of Half"):
        Half([p]).step()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("backward", r"back\(loss\) is the reverse pass"),
        ("detach", r"x\.data is the plain array"),
        ("numpy", r"x\.data is the plain array"),
        ("add_", r"update\(W, Δ\)"),
        ("partition", r"\.data\.partition"),
    ],
)
def test_words_of_other_libraries_lead_to_ours(name, words):
    for x in (param([1.0]), param([1.0]) * 2):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'; .*{words}"):
            getattr(x, name)


def test_zero_grad_of_a_parameter_clears_its_gradient_and_of_a_value_leads_to_opt():
    W = param([1.0])
    back(W.sum())
    W.zero_grad()
    assert W.grad == 0
    with pytest.raises(AttributeError, match=r"no attribute 'zero_grad'; .*opt\(\) clears the gradients"):
        (W * 2).zero_grad()


# -- a class that is defined again --------------------------------------------------------------------------


def drift(size):
    class Drift(Optimiser):
        η = Hyper(0.1, "learning rate")
        state = ("v",)

        def step(self, δ, s):
            s.v = s.v + size
            return self.η * (δ + s.v)

    return Drift


@pytest.mark.parametrize("by_name", [False, True])
def test_a_class_defined_again_and_swapped_in_is_an_event_and_replays(registry, by_name):
    W = param(1.0)
    run = Run(lambda x: W * W, [0] * 40, drift(1.0)([W]))
    run.step(5)
    for size in (2.0, 3.0, 4.0):
        again = drift(size)
        run.swap("Drift" if by_name else again)
        run.step(5)
    run.set(η=0.2)
    run.step(5)
    end = W.data.copy()
    assert [tuple(e) for e in run.events] == [(k, "opt", "Drift", "Drift") for k in (5, 10, 15)] + [(20, "η", 0.1, 0.2)]
    run.replay()
    assert W.data == end
    run.rewind(12)
    run.step(3)
    run.rewind(0)
    run.step(1)
    assert W.data == pytest.approx(1.0 - 0.1 * (2 + 1.0))


def old_and_new():
    """A model that was made anew after its optimiser, as a cell that is run again does."""
    old, new = param([1.0, 2.0]), param([1.0, 2.0])
    return old, new, lambda x: ((new - x) ** 2).sum()


@pytest.mark.parametrize("make", [lambda p: SGD([p]), lambda p: [SGD([p]), ADAM([p])]], ids=["one", "two"])
def test_a_loss_that_depends_on_none_of_the_optimisers_parameters_is_refused(make):
    old, new, loss = old_and_new()
    with pytest.raises(TypeError, match=r"on none that .* trains.*SGD\(params\(model\)\)"):
        train(loss, [0.0] * 3, make(old))
    with pytest.raises(TypeError, match=r"on none that .* trains.*SGD\(params\(model\)\)"):
        Run(loss, [0.0] * 3, make(old)).train()
    assert not new.grad.any()
    assert old.data.tolist() == new.data.tolist() == [1.0, 2.0]


def test_a_loss_may_depend_on_some_of_the_optimisers_parameters():
    old, new, loss = old_and_new()
    train(loss, [0.0], SGD([old, new]))
    train(loss, [0.0], [SGD([old]), SGD([new])])
    train(loss, [0.0], [SGD([old]), lambda: update(new, -0.1 * new.grad)])
    assert old.data.tolist() == [1.0, 2.0]
