"""save_params and load_params: names, round trips, and refused models."""

from __future__ import annotations

import types

import numpy as np
import pytest

from fluxmagic import BatchNorm, Chain, Dense, Diagonal, Dropout, LayerNorm, back, param, params, relu, softmax, tanh
from fluxmagic.layers import named_params
from fluxmagic.runs import ArchiveError, archive, load_params, save_params


def model(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    m = Chain(
        Dense(3, 4, relu, dtype=dtype),
        BatchNorm(4, tanh, dtype=dtype),
        Dropout(0.5),
        Chain(Dense(4, 4, dtype=dtype), LayerNorm(4, dtype=dtype)),
        Dense(4, 2, dtype=dtype),
        softmax,
    )
    for p in params(m):
        p.data = rng.normal(size=p.shape)
    m[1].mean[...], m[1].var[...] = rng.normal(size=4), rng.random(4)
    return m


def same(a, b):
    xs, ys = ([*params(m), m[1].mean, m[1].var] for m in (a, b))
    return all(np.array_equal(getattr(x, "data", x), getattr(y, "data", y)) for x, y in zip(xs, ys, strict=True))


@pytest.mark.parametrize("names", [None, "torch"])
@pytest.mark.parametrize("file", ["m.npz", "m", "m.safetensors"])
def test_weights_and_statistics_come_back(tmp_path, names, file):
    if file.endswith("safetensors"):
        pytest.importorskip("safetensors")
    m, other = model(), model(1)
    save_params(m, tmp_path / file, names=names)
    assert not same(m, other)
    load_params(other, tmp_path / file)
    assert same(m, other)


def test_names_are_places_in_the_model_or_those_of_torch_sequential(tmp_path):
    save_params(model(), tmp_path / "a")
    with np.load(tmp_path / "a") as file:
        assert {"[0].W", "[0].b", "[1].γ", "[1].mean", "[3][0].W", "[4].b"} <= set(file)
    save_params(model(), tmp_path / "a", names="torch")
    with np.load(tmp_path / "a") as file:
        # Linear 0, ReLU 1, BatchNorm1d 2, Tanh 3, Dropout 4, Sequential 5, Linear 6, Softmax 7
        assert set(file) - {"meta.json"} == {
            *("0.weight", "0.bias", "2.weight", "2.bias", "2.running_mean", "2.running_var"),
            *("5.0.weight", "5.0.bias", "5.1.weight", "5.1.bias", "6.weight", "6.bias"),
        }
        assert file["0.weight"].shape == (4, 3)


@pytest.mark.parametrize("names", [None, "torch"])
@pytest.mark.parametrize("make", [lambda: Dense(2, 3), lambda: param(2.0), lambda: Diagonal(3)])
def test_a_single_layer_or_parameter_is_saved_and_loaded(tmp_path, make, names):
    a, b = make(), make()
    for p in params(a):
        p.data = p.data + 1
    save_params(a, tmp_path / "a", names=names)
    load_params(b, tmp_path / "a")
    assert [p.data.tobytes() for p in params(a)] == [p.data.tobytes() for p in params(b)]


def test_torch_loads_the_file_and_computes_the_same(tmp_path):
    torch = pytest.importorskip("torch")
    m = Chain(Dense(3, 4, relu), BatchNorm(4), Dense(4, 2))
    m[1].mean[...] = 0.5
    save_params(m, tmp_path / "a.npz", names="torch")
    nn = torch.nn
    twin = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    with np.load(tmp_path / "a.npz") as file:
        twin.load_state_dict({k: torch.from_numpy(file[k]) for k in file if k != "meta.json"})
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    from fluxmagic.layers import testmode

    with testmode(m):
        np.testing.assert_allclose(twin(torch.from_numpy(x)).detach().numpy(), m(x).data, rtol=1e-5, atol=1e-6)


def test_an_error_lists_every_misfit_and_nothing_is_assigned(tmp_path):
    save_params(Chain(Dense(3, 4), Dense(4, 2)), tmp_path / "a")
    other = Chain(Dense(3, 4), Dense(4, 2, dtype=np.float64), Dense(2, 2))
    before = [p.data.tobytes() for p in params(other)]
    with pytest.raises(ArchiveError) as caught:
        load_params(other, tmp_path / "a")
    for words in (
        "[1].W is float32 of shape (2, 4), in the model float64 of shape (2, 4)",
        "[2].W is missing",
        "[2].b is missing",
    ):
        assert words in str(caught.value)
    with pytest.raises(ArchiveError, match=r"\[1\]\.W is not in the model"):
        load_params(Chain(Dense(3, 4)), tmp_path / "a")
    assert [p.data.tobytes() for p in params(other)] == before


def write_raw(path, arrays):
    """As `save_params` writes, but without its checks."""
    if path.suffix == ".safetensors":
        path.write_bytes(pytest.importorskip("safetensors.numpy").save(arrays))
    else:
        archive.write(path, "weights", {}, arrays)


FILES = pytest.mark.parametrize("file", ["a.npz", "a.safetensors"])


@FILES
def test_values_that_are_not_finite_are_refused_by_save_and_by_load(tmp_path, file):
    m, path = Chain(Dense(3, 4), BatchNorm(4)), tmp_path / file
    whole = {"[0].W": m[0].W.data, "[0].b": np.full(4, np.nan, np.float32)}
    whole |= {f"[1].{k}": np.ones(4, np.float32) for k in ("γ", "β", "mean", "var")}
    write_raw(path, whole)
    with pytest.raises(ArchiveError, match=r"\[0\]\.b is not finite"):
        load_params(m, path)
    assert np.isfinite(m[0].b.data).all()
    before = path.read_bytes()
    m[0].b.data, m[1].var[0] = np.full(4, np.inf), np.nan
    with pytest.raises(ValueError, match=r"values of \[0\]\.b, \[1\]\.var are not finite, which load_params refuses"):
        save_params(m, path)
    assert path.read_bytes() == before


class Scaled:
    def __init__(self):
        self.W, self.γ = param([1.0, 2.0]), param([3.0, 4.0])

    def __call__(self, x):
        return self.W * x + self.γ


def closure(W):
    return lambda x: W * x


def two_closures(first, second):
    ab, a = closure(param(first)), closure(param(second))  # the place of one is ab.W, of the other a.bW
    bW = a.__closure__[0].cell_contents

    def inner(x):
        return bW * x

    a = inner
    return lambda x: a(x) + ab(x)


@FILES
def test_parameters_of_closures_have_places_of_their_own(tmp_path, file):
    save_params(two_closures(1.0, 2.0), tmp_path / file)
    m = two_closures(0.0, 0.0)
    load_params(m, tmp_path / file)
    assert {place: float(p) for place, p in named_params(m)} == {"ab.W": 1.0, "a.bW": 2.0}


@FILES
@pytest.mark.parametrize(
    ("make", "names", "message"),
    [
        (Scaled, "torch", r"'weight' would be \.W and \.γ: use names=None"),
        (lambda: Chain(Dense(2, 2), Scaled()), "torch", r"'1.weight' would be \[1\]\.W and \[1\]\.γ"),
        (lambda: {"a.k": param(1.0), "a": {"k": param(2.0)}}, "torch", r"'a\.k' would be \['a\.k'\] and \['a'\]\["),
        (
            lambda: {closure(param(1.0)), closure(param(2.0))},
            None,
            r"'\{\}\.W' would be \{\}\.W and \{\}\.W: keep them in a list, a dict or attributes",
        ),
    ],
)  # fmt: skip
def test_parameters_with_equal_names_are_listed_and_nothing_is_written(tmp_path, file, make, names, message):
    m = make()
    with pytest.raises(ValueError, match="names of the model's parameters are not unique: " + message):
        save_params(m, tmp_path / file, names=names)
    assert not list(tmp_path.iterdir())


def test_a_model_whose_torch_names_collide_is_saved_under_its_own_names(tmp_path):
    a, b = Scaled(), Scaled()
    a.W.data, a.γ.data = [5.0, 6.0], [7.0, 8.0]
    save_params(a, tmp_path / "a")
    load_params(b, tmp_path / "a")
    assert (b.W.data.tolist(), b.γ.data.tolist()) == ([5, 6], [7, 8])


@FILES
def test_closures_in_a_list_keep_their_own_values(tmp_path, file):
    m, other = ([closure(param(v)) for v in values] for values in ([1.0, 2.0], [3.0, 4.0]))
    save_params(m, tmp_path / file)
    load_params(other, tmp_path / file)
    assert [p.data.tolist() for p in params(other)] == [1, 2]


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "a\nb", "x" * 20_000])
def test_names_that_a_file_cannot_hold_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="names of parameters in a file are printable and at most 10000 long"):
        save_params(types.SimpleNamespace(**{name: param(1.0)}), tmp_path / "a")
    assert not list(tmp_path.iterdir())


@FILES
def test_a_shared_layer_is_saved_once_and_has_to_agree_when_loaded(tmp_path, file):
    shared = Dense(2, 2, rng=0)
    m, path = Chain(shared, shared), tmp_path / file
    save_params(m, path, names="torch")
    W = shared.W.data.copy()
    shared.W.data = np.zeros((2, 2))
    load_params(m, path)
    np.testing.assert_array_equal(shared.W.data, W)
    save_params(Chain(Dense(2, 2, rng=1), Dense(2, 2, rng=2)), path, names="torch")
    with pytest.raises(
        ArchiveError, match=r"0\.weight and 1\.weight differ in the file, but are one parameter in the model"
    ):
        load_params(m, path)
    np.testing.assert_array_equal(shared.W.data, W)


@FILES
def test_torch_s_batch_counters_are_ignored_but_a_parameter_of_that_name_is_loaded(tmp_path, file):
    m, path = types.SimpleNamespace(num_batches_tracked=param([1.0])), tmp_path / file
    save_params(m, path)
    m.num_batches_tracked.data = [2.0]
    load_params(m, path)
    assert m.num_batches_tracked.data.tolist() == [1]
    bn = BatchNorm(1)
    save_params(Chain(bn), path, names="torch")
    arrays = {f"0.{k}": np.full(1, 3, np.float32) for k in ("weight", "bias", "running_mean", "running_var")}
    write_raw(path, arrays | {"0.num_batches_tracked": np.array(7)})
    load_params(Chain(bn), path)
    assert bn.mean.tolist() == [3]


@FILES
def test_an_error_names_both_dtypes_and_shapes(tmp_path, file):
    path = tmp_path / file
    write_raw(path, {"W": np.zeros(1_000_000, np.float32)})
    with pytest.raises(ArchiveError, match=r"W is float32 of shape \(1000000,\), in the model float64 of shape \(2,\)"):
        load_params(param([1.0, 2.0]), path)


@FILES
def test_a_loss_computed_before_loading_is_stale(tmp_path, file):
    W = param([1.0, 2.0])
    save_params(W, tmp_path / file)
    l = (W * W).sum()
    load_params(W, tmp_path / file)
    with pytest.raises(RuntimeError, match="was updated after"):
        back(l)


def test_saving_while_another_thread_trains_writes_a_consistent_file(tmp_path, monkeypatch):
    m, digest = Dense(2, 1), archive.digest

    def training_goes_on(*args):
        found = digest(*args)
        m.W.data = m.W.data + 1
        return found

    before = m.W.data.copy()
    monkeypatch.setattr(archive, "digest", training_goes_on)
    save_params(m, tmp_path / "a")
    monkeypatch.undo()
    load_params(m, tmp_path / "a")
    np.testing.assert_array_equal(m.W.data, before)


def test_arrays_in_fortran_order_are_written_correctly(tmp_path):
    pytest.importorskip("safetensors")
    m = Chain(Dense(3, 4))
    m[0].W.value = np.asfortranarray(m[0].W.value)
    save_params(m, tmp_path / "a.safetensors")
    other = Chain(Dense(3, 4))
    load_params(other, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(other[0].W.data, m[0].W.data)


def test_saving_no_parameters_or_other_names_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="names is None or 'torch', not 'jax'"):
        save_params(model(), tmp_path / "a", names="jax")
    with pytest.raises(ValueError, match="found no parameter"):
        save_params(Chain(relu), tmp_path / "a")
