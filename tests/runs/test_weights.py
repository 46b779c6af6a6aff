"""Weights in files of their own."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fluxmagic import BatchNorm, Chain, Dense, Diagonal, Dropout, LayerNorm, param, params, relu, softmax, tanh
from fluxmagic.runs import ArchiveError, load_params, save_params


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


def test_names_are_places_in_the_model_or_those_of_torch_s_sequential(tmp_path):
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
def test_a_single_layer_or_parameter_will_do(tmp_path, make, names):
    a, b = make(), make()
    for p in params(a):
        p.data = p.data + 1
    save_params(a, tmp_path / "a", names=names)
    load_params(b, tmp_path / "a")
    assert [p.data.tobytes() for p in params(a)] == [p.data.tobytes() for p in params(b)]


def test_torch_itself_takes_the_file_and_computes_the_same(tmp_path):
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


def test_all_that_does_not_fit_is_listed_and_nothing_is_assigned(tmp_path):
    m = Chain(Dense(3, 4), Dense(4, 2))
    m[0].b.data = np.full(4, np.nan)
    save_params(m, tmp_path / "a")
    other = Chain(Dense(3, 4), Dense(4, 2, dtype=np.float64), Dense(2, 2))
    before = [p.data.tobytes() for p in params(other)]
    with pytest.raises(ArchiveError) as caught:
        load_params(other, tmp_path / "a")
    for words in (
        "[0].b is not finite",
        "[1].W is float32 of shape (2, 4), in the model float64 of shape (2, 4)",
        "[2].W is missing",
        "[2].b is missing",
    ):
        assert words in str(caught.value)
    with pytest.raises(ArchiveError, match=r"\[1\]\.W is not in the model"):
        load_params(Chain(Dense(3, 4)), tmp_path / "a")
    assert [p.data.tobytes() for p in params(other)] == before


@pytest.mark.parametrize("file", ["a.npz", "a.safetensors"])
def test_a_damaged_file_is_refused(tmp_path, file):
    if file.endswith("safetensors"):
        pytest.importorskip("safetensors")
    m = model()
    path = tmp_path / file
    save_params(m, path)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"x" * 100):
        path.write_bytes(content)
        with pytest.raises(ArchiveError):
            load_params(m, path)
    with pytest.raises(IsADirectoryError):
        load_params(m, tmp_path)


def test_arrays_that_do_not_lie_in_c_order_are_written_right(tmp_path):
    pytest.importorskip("safetensors")
    m = Chain(Dense(3, 4))
    m[0].W.value = np.asfortranarray(m[0].W.value)
    save_params(m, tmp_path / "a.safetensors")
    other = Chain(Dense(3, 4))
    load_params(other, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(other[0].W.data, m[0].W.data)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install fluxmagic\[safetensors\]"):
        save_params(model(), tmp_path / "a.safetensors")


def test_what_cannot_be_saved_says_so(tmp_path):
    with pytest.raises(ValueError, match="names is None or 'torch', not 'jax'"):
        save_params(model(), tmp_path / "a", names="jax")
    with pytest.raises(ValueError, match="found no parameter"):
        save_params(Chain(relu), tmp_path / "a")
