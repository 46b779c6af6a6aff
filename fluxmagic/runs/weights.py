"""Weights alone in a file, to take along and to exchange."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fluxmagic.layers import Chain, identity, params
from fluxmagic.layers.parameters import walk
from fluxmagic.runs import archive
from fluxmagic.runs.archive import ArchiveError
from fluxmagic.tracker import Param

__all__ = ["load_params", "save_params"]

# β is a bias in our layers, wherever it is a parameter
_TORCH = {"W": "weight", "γ": "weight", "α": "weight", "b": "bias", "β": "bias"}
_TORCH |= {"mean": "running_mean", "var": "running_var"}


def save_params(m: Any, path: Any, names: str | None = None) -> None:
    """Write a model's parameters, and the running statistics of its layers, to a file.

    Parameters
    ----------
    m
        As for `fluxmagic.params`.
    path : path
        One that ends in `.safetensors` is written in that format, which takes the package of that name
        (`pip install fluxmagic[safetensors]`); any other is an `.npz`.  What is there is replaced only when the
        new file is whole.
    names : {None, "torch"}
        None: by their place in the model, `[0].W`.  "torch": as in the `state_dict` of the matching
        `torch.nn.Sequential`, `0.weight`, where an activation is a module of its own: a Dense with an
        activation takes two places.

    Raises
    ------
    ValueError
        If the model has no parameters, or `names` is something else.
    ImportError
        If the package safetensors is missing.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> from fluxmagic import Chain, Dense, load_params, relu, save_params
    >>> m = Chain(Dense(3, 2, relu), Dense(2, 1))
    >>> path = os.path.join(tempfile.mkdtemp(), "m.npz")
    >>> save_params(m, path, names="torch")
    >>> load_params(m, path)
    """
    params(m)
    arrays = {name: np.asarray(a, order="C") for name, a in _named(m, names)}
    if Path(path).suffix == ".safetensors":
        raw = _safetensors().save(arrays)
        archive.write_atomically(path, lambda file: file.write(raw))
    else:
        archive.write(path, "weights", {}, arrays)


def load_params(m: Any, path: Any) -> None:
    """Read what `save_params` wrote, under names of either kind.  All is checked before anything is assigned.

    Parameters
    ----------
    m
        As for `fluxmagic.params`.
    path : path

    Raises
    ------
    ArchiveError
        A ValueError: if the file is damaged; or if names, shapes or dtypes are not those of the model, or values
        not finite, when it lists all that do not fit.
    ImportError
        If the package safetensors is missing.
    OSError
        If there is no such file.

    Examples
    --------
    >>> import os, tempfile
    >>> from fluxmagic import Dense, load_params, save_params
    >>> trained, m = Dense(3, 2), Dense(3, 2)
    >>> path = os.path.join(tempfile.mkdtemp(), "m.npz")
    >>> save_params(trained, path)
    >>> load_params(m, path)
    >>> bool((m.W.data == trained.W.data).all())
    True
    """
    params(m)
    arrays = _read(Path(path))
    arrays = {k: a for k, a in arrays.items() if k.rpartition(".")[2] != "num_batches_tracked"}
    kinds = [dict(_named(m, names)) for names in (None, "torch")]
    here = max(kinds, key=lambda k: len(k.keys() & arrays.keys()))
    wrong = [f"{k} is missing" for k in here if k not in arrays]
    wrong += [f"{k} is not in the model" for k in arrays if k not in here]
    for k in here.keys() & arrays.keys():
        live, new = here[k], arrays[k]
        if new.shape != live.shape or new.dtype != live.dtype:
            wrong.append(f"{k} is {new.dtype} of shape {new.shape}, in the model {live.dtype} of shape {live.shape}")
        elif not np.isfinite(new).all():
            wrong.append(f"{k} is not finite")
    if wrong:
        raise ArchiveError(f"{path} does not fit the model: " + "; ".join(sorted(wrong)))
    for k, live in here.items():
        live[...] = arrays[k]


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix != ".safetensors":
        return archive.read(path, "weights")[1]
    reader = _safetensors()
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a file")
    raw = path.read_bytes()
    try:
        arrays: dict[str, np.ndarray] = reader.load(raw)
    except Exception as error:  # its own kind, and what NumPy raises
        raise ArchiveError(f"{path}: cut, damaged, or not a file of safetensors ({error})") from None
    return arrays


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(
            "files that end in .safetensors need the package safetensors: pip install fluxmagic[safetensors]"
        ) from None
    return safetensors.numpy


def _named(m: Any, names: str | None) -> Iterator[tuple[str, np.ndarray]]:
    """The live arrays of a model with their names."""
    if names not in (None, "torch"):
        raise ValueError(f"names is None or 'torch', not {names!r}")
    if names == "torch" and isinstance(m, Chain):
        place = 0
        for layer in m:
            yield from ((f"{place}.{name}", a) for name, a in _named(layer, names))
            place += 1 if getattr(layer, "σ", identity) is identity else 2
        return
    for path, x in walk(m):
        if isinstance(x, Param):
            yield _name(path, names), x.value
        else:
            for k in getattr(type(x), "statistics", ()):
                yield _name(f"{path}.{k}", names), getattr(x, k)


def _name(path: str, names: str | None) -> str:
    parts = re.findall(r"[^\[\].']+", path)
    if names is None or not parts:
        return path or "W"
    return ".".join([*parts[:-1], _TORCH.get(parts[-1], parts[-1])])
