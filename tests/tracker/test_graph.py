"""The graph: long chains, freeing, threads, imports."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

from fluxmagic import back, gradient, param
from fluxmagic.tracker import Tracked, checkpoint, custom_gradient, forward, hook, leaves
from fluxmagic.tracker.graph import topological_order

N = 100_000


def chain(x, n=N):
    for _ in range(n):
        x = x * 1.00001
    return x


def test_a_long_chain_is_differentiated_shown_and_freed():
    W = param(1.0)
    y = chain(W)
    back(y)
    assert np.isclose(W.grad, 1.00001**N)
    assert repr(y).startswith("tracked(2.718")
    del y  # on the stack this would be 10⁵ deep
    assert float(W) == 1


def test_a_long_chain_to_second_order():
    second = gradient(lambda x: gradient(lambda x: chain(x) * x, x)[0], 1.0)[0]
    assert np.isclose(second, 2 * 1.00001**N)


def test_a_long_chain_of_sums_of_a_loop():
    W = param(np.ones(2, np.float32))
    total = 0.0
    for k in range(N // 10):
        total += (W * k).sum()
    back(total)
    assert np.allclose(W.grad, sum(range(N // 10)), rtol=1e-3)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_long_chain_is_copied_and_pickled(copied):
    W = param(1.0)
    y = copied(chain(W))
    (V,) = leaves(y)
    assert V is not W
    back(y)
    assert np.isclose(V.grad, 1.00001**N)
    assert W.grad == 0


def test_a_deep_tower_of_different_operations_is_freed():
    x = param(np.ones(3))
    y = x
    for _ in range(N // 20):
        y = np.stack([np.sin(y), y[[2, 0, 1]]]).sum(axis=0)[:3] * 0.5
    alive = weakref.ref(y)
    del y
    assert alive() is None


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def graphs():
    W = param(np.ones((3, 3)))

    @custom_gradient
    def cube(x):
        return x**3, lambda Δ: (Δ * 3 * x * x,)

    yield lambda: np.sum(np.tanh(W @ W)[:, 0] ** 2)
    yield lambda: checkpoint(lambda x: np.sin(x @ W), W * 2).sum()
    yield lambda: hook(lambda Δ: Δ * 2, W).sum()
    yield lambda: cube(W * 2).sum()
    yield lambda: np.linalg.slogdet(W + np.eye(3)).logabsdet + np.split(W, 3)[0].sum()
    yield lambda: np.sum(np.concatenate([W, W]) * np.einsum("ij,jk->ik", W, W)[0])


@pytest.mark.parametrize("build", [*graphs()])
@pytest.mark.parametrize("backwards", [False, True])
def test_dropping_a_graph_frees_it_without_the_collector(no_collector, build, backwards):
    y = build()
    if backwards:
        back(y)
    alive = [weakref.ref(node) for node in topological_order(y) if node.op is not None]
    assert len(alive) > 1
    del y
    assert not any(ref() for ref in alive)


def test_nested_gradients_are_freed_without_the_collector(no_collector):
    alive = []

    def f(x):
        y = np.sin(x) * x
        alive.append(weakref.ref(y))
        return np.sum(y)

    gradient(lambda x: np.sum(gradient(f, x)[0] ** 2), np.ones(3))
    assert len(alive) == 1
    assert alive[0]() is None


def test_a_pullback_frees_its_graph_when_dropped(no_collector):
    alive = []

    def f(x):
        y = x * 2
        alive.append(weakref.ref(y))
        return y

    _, pullback = forward(f, np.ones(3))
    assert alive[0]() is not None
    del pullback
    assert alive[0]() is None


def test_an_error_inside_a_rule_leaves_nothing_alive_but_its_traceback(no_collector):
    W = param(np.ones(3))

    @custom_gradient
    def f(x):
        def pullback(Δ):
            raise RuntimeError

        return x * 2, pullback

    y = f(W).sum()
    alive = weakref.ref(y)
    with pytest.raises(RuntimeError) as caught:
        back(y)
    caught.value.__traceback__ = None
    del y, caught
    gc.collect()  # pytest's own references
    assert alive() is None


def test_no_graph_is_built_of_plain_arrays():
    assert not isinstance(np.sin(np.ones(3)), Tracked)
    (δ,) = gradient(lambda x: np.sum(x * x), np.ones(3))
    assert type(δ) is np.ndarray


def test_threads_differentiate_their_own_graphs():
    errors = []
    ready = threading.Barrier(8)

    def work(k):
        try:
            ready.wait()
            W = param(np.full(3, float(k)))
            for i in range(100):
                W.data = np.full(3, k + i / 100)
                x = float(W.data[0])
                loss = np.sum(W**3 + checkpoint(lambda x: x * x, W))
                back(loss)
                assert np.allclose(W.grad, 3 * x**2 + 2 * x)
                W.zero_grad()
                second = gradient(lambda x: gradient(lambda x: x**4, x)[0], x)[0]
                assert np.isclose(second, 12 * x**2)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


def test_leaves_are_the_parameters_in_the_order_in_which_they_were_made():
    a, b, c = param(1.0), param(2.0), param(3.0)
    assert list(leaves(c * a + np.sin(c) * 2)) == [a, c]
    assert list(leaves(b)) == [b]
    assert list(leaves(1.0)) == []


def imported(code):
    script = f"import sys\n{code}\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


def test_importing_fluxmagic_loads_numpy_and_neither_scipy_nor_ipython():
    loaded = imported("import fluxmagic")
    assert "numpy" in loaded
    assert not {"scipy", "IPython", "ipywidgets", "matplotlib", "pandas"} & set(loaded)


def test_an_operation_of_scipy_is_found_when_scipy_is_there():
    special = pytest.importorskip("scipy.special")
    with pytest.raises(TypeError, match=r"struve has no gradient rule.*custom_gradient.*\.data"):
        special.struve(1.0, param(2.0))
    back(special.expit(param(0.0)))
    with pytest.raises(TypeError, match=r"\.data"):
        special.logsumexp(param([1.0, 2.0]))  # written in Python for plain arrays; ours is tracker.logsumexp
