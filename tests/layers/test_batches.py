"""Data in batches."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fluxmagic
from fluxmagic import Dense, Momentum, accuracy, batches, logitcrossentropy, mse, param, params, train


@settings(deadline=None, max_examples=60)
@given(n=st.integers(0, 40), size=st.integers(1, 12), shuffle=st.booleans(), drop=st.booleans())
def test_every_row_appears_once_with_its_label(n, size, shuffle, drop):
    X, Y = np.arange(2 * n).reshape(n, 2), np.arange(n) * 10
    data = batches(X, Y, size, shuffle=shuffle, drop_last=drop, rng=0)
    got = list(data)
    assert len(got) == len(data) == (n // size if drop else -(-n // size))
    assert all(len(x) == len(y) == size for x, y in got[: n // size])
    rows = [int(i) for _, y in got for i in y // 10]
    assert all((x == X[y // 10]).all() for x, y in got)
    assert len(set(rows)) == len(rows) == (n - n % size if drop else n)
    if not shuffle:
        assert rows == list(range(len(rows)))


def test_one_array_gives_arrays_and_several_give_tuples():
    assert type(next(iter(batches(np.arange(4), 2)))) is np.ndarray
    got = next(iter(batches(np.arange(4), np.arange(4), np.arange(4), 2)))
    assert type(got) is tuple
    assert [type(a) for a in got] == [np.ndarray] * 3


def test_the_size_comes_last_or_by_name():
    assert len(batches(np.arange(10), 3)) == len(batches(np.arange(10), size=3)) == 4
    assert len(batches(np.arange(10), np.int64(3))) == 4


class Sparse:
    """As SciPy's: one object to NumPy."""

    def toarray(self):
        return np.ones((2, 2))


def order(data):
    return [i for batch in data for i in batch.tolist()]


def test_the_order_is_fresh_every_epoch_and_repeatable_from_the_seed():
    data = batches(np.arange(100), 7, rng=3)
    epochs = [order(data) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert epochs[0] != list(range(100))
    again = batches(np.arange(100), 7, rng=np.random.default_rng(3))
    assert [order(again) for _ in range(3)] == epochs


def test_the_default_order_follows_fluxmagic_seed():
    data = batches(np.arange(50), 10)
    fluxmagic.seed(1)
    first = order(data), order(data)
    fluxmagic.seed(1)
    assert (order(data), order(data)) == first
    fluxmagic.seed(2)
    assert order(data) != first[0]


def test_two_loops_over_the_same_batches_are_independent():
    data = batches(np.arange(20), 5, rng=0)
    pairs = list(zip(data, data, strict=True))
    for side in (0, 1):
        assert sorted(i for pair in pairs for i in pair[side].tolist()) == list(range(20))


def test_without_shuffle_nothing_is_drawn():
    fluxmagic.seed(0)
    before = np.random.default_rng(0).permutation(5).tolist()
    list(batches(np.arange(5), 2, shuffle=False))
    assert order(batches(np.arange(5), 5)) == before


def test_a_batch_is_a_copy():
    X = np.arange(6)
    for shuffle in (True, False):
        for x in batches(X, 2, shuffle=shuffle):
            x += 100
    assert X.tolist() == list(range(6))


@pytest.mark.parametrize("kind", [list, tuple, pd.Series, pd.Index, param, np.asfortranarray])
def test_batches_take_arrays_lists_and_pandas_objects(kind):
    X = kind([float(i) for i in range(6)])
    rows = list(batches(X, 4, shuffle=False))
    assert [r.tolist() for r in rows] == [[0, 1, 2, 3], [4, 5]]
    assert all(type(r) is np.ndarray for r in rows)


def test_pandas_rows_are_taken_by_position():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]}, index=[2, 0, 1])
    target = pd.Series([10, 20, 30], index=[0, 1, 2])
    for x, y in batches(frame, target, 2, rng=0):
        assert type(x) is type(y) is np.ndarray
        assert (x[:, 0] * 10 == y).all()
        assert (x[:, 1] == x[:, 0] + 3).all()


def test_only_the_rows_of_a_batch_are_read_from_a_memory_map(tmp_path):
    stored = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (64, 8))
    stored[...] = np.arange(64)[:, None]
    stored.flush()
    read = []

    class Watched(np.memmap):
        def __getitem__(self, index):
            rows = super().__getitem__(index)
            read.append(np.size(rows))
            return rows

    X = np.load(tmp_path / "X.npy", mmap_mode="r").view(Watched)
    for shuffle in (True, False):
        data = batches(X, np.arange(64), 16, shuffle=shuffle, rng=0)
        assert data.arrays[0] is X
        assert read == []
        for x, y in data:
            assert type(x) is np.ndarray
            assert x.flags.writeable
            assert (x[:, 0] == y).all()
            assert read == [16 * 8]
            read.clear()


def test_scikit_learns_digits_train_a_layer_from_pandas_and_from_arrays():
    digits = pytest.importorskip("sklearn.datasets").load_digits(as_frame=True)
    frame, labels = digits.data / 16, digits.target
    for X, Y in ((frame, labels), (frame.to_numpy(), labels.to_numpy())):
        layer = Dense(64, 10, rng=0)
        train(
            lambda x, y: logitcrossentropy(layer(x), y),  # noqa: B023
            [b for _ in range(4) for b in batches(X, Y, 64, rng=1)],
            Momentum(params(layer), 0.1),
        )
        assert accuracy(layer(X), Y) > 0.85


def test_pandas_columns_work_in_arithmetic_with_parameters():
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [3.0, 5.0, 7.0]})
    a, b = param(0.0), param(0.0)
    train(lambda x, y: mse(a * x + b, y), [(frame["x"], frame["y"])] * 400, Momentum([a, b], 0.05))
    assert float(a) == pytest.approx(2, abs=1e-3)
    assert float(b) == pytest.approx(1, abs=1e-3)
    train(lambda x, y: ((y - x * a - b) ** 2).sum(), [(frame["x"], frame["y"])], Momentum([a, b], 0.05))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: batches(np.ones(3), np.ones(4), 2), ValueError, "arrays of different lengths: 3, 4"),
        (lambda: batches(np.ones(3), 0), ValueError, "the size is at least 1, not 0"),
        (lambda: batches(np.ones(3), np.ones(3)), TypeError, "the size comes last and is an integer, not a ndarray"),
        (lambda: batches(np.ones(3), 2.0), TypeError, "the size comes last and is an integer, not a float"),
        (lambda: batches(np.ones(3), True), TypeError, "not a bool"),
        (lambda: batches(2), TypeError, "no array was given"),
        (lambda: batches(), TypeError, "the size comes last"),
        (lambda: batches(np.ones(3), 5, size=2), TypeError, "a scalar has no rows"),
        (lambda: batches((np.ones(3), np.ones(3)), 2), TypeError, r"as in batches\(X, Y, 32\), not as a tuple"),
        (lambda: batches((np.ones((3, 2)), [1, 2, 3]), 2), TypeError, "give several arrays one by one"),
        (
            lambda: batches((pd.DataFrame({"a": [1]}), pd.Series([1])), 2),
            TypeError,
            r"give rows of one array as np\.stack\(rows\)",
        ),
        (
            lambda: batches([np.ones((3, 2)), np.ones(3)], 2),
            ValueError,
            "rows of one array have one shape.*not as a list",
        ),
        (lambda: batches({"x": [1.0]}, 2), TypeError, "a dict has no rows"),
        (lambda: batches((x for x in [1.0]), 2), TypeError, "a generator has no rows: give a list"),
        (lambda: batches(Sparse(), 2), TypeError, r"a Sparse has no rows: give \.toarray\(\)"),
        (lambda: batches(np.ma.masked_equal([1, 2], 1), 2), TypeError, "a masked array would lose its mask"),
    ],
)
def test_wrong_arguments_of_batches_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
