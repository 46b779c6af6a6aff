"""Weights in a file of their own, as an .npz or in the format of safetensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from fluxmagic.layers import Chain, identity, params
from fluxmagic.layers.traversal import buffer_names, traverse
from fluxmagic.runs import archive
from fluxmagic.runs.archive import AnyPath, ArchiveError
from fluxmagic.tracker import Param

__all__ = ["load_params", "save_params"]

# torch.nn has one name for the scales W, γ and α, and one for b and β
_TORCH = {"W": "weight", "γ": "weight", "α": "weight", "b": "bias", "β": "bias"}
_TORCH |= {"mean": "running_mean", "var": "running_var"}


def save_params(m: object, path: AnyPath, names: str | None = None) -> None:
    """Write a model's parameters, and the running statistics of its layers, to a file.

    Parameters
    ----------
    m
        As for `fluxmagic.params`.
    path : path
        The suffix `.safetensors` selects that format, which needs the package of that name
        (`pip install fluxmagic[safetensors]`); any other file is an `.npz`.  An existing file is replaced only by a
        complete one.
    names : {None, "torch"}
        None names parameters by their place in the model, `[0].W`.  "torch" names them as the `state_dict` of the
        matching `torch.nn.Sequential`, `0.weight`: an activation is a module there, so that a Dense with an
        activation takes two places.

    Raises
    ------
    ValueError
        If the model has no parameters, names are not unique, a value is not finite, or `names` is another one.
    ImportError
        If the package safetensors is missing.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> m = Chain(Dense(3, 2, relu), Dense(2, 1))
    >>> path = os.path.join(tempfile.mkdtemp(), "m.npz")
    >>> save_params(m, path, names="torch")
    >>> load_params(m, path)
    """
    params(m)
    # copies, since another thread may be training while the hash is computed
    arrays = {name: np.array(a, order="C") for name, a in _by_name(m, names).items()}
    bad = [name for name, a in arrays.items() if not np.isfinite(a).all()]
    if bad:
        raise ValueError(
            f"save_params: values of {', '.join(bad)} are not finite, which load_params refuses; nothing was written"
        )
    if Path(path).suffix == ".safetensors":
        raw = _safetensors().numpy.save(arrays)
        archive.write_atomically(path, lambda file: file.write(raw))
    else:
        archive.write(path, "weights", {}, arrays)


def load_params(m: object, path: AnyPath) -> None:
    """Load a file of `save_params`, with names of either kind, after all of it is checked.

    Parameters
    ----------
    m
        As for `fluxmagic.params`.
    path : path

    Raises
    ------
    ArchiveError
        A ValueError, if the file is damaged, or does not fit the model: it lists every wrong name, shape and dtype,
        and values that are not finite.
    ImportError
        If the package safetensors is missing.
    OSError
        If there is no such file.

    Examples
    --------
    >>> import os, tempfile
    >>> trained, m = Dense(3, 2), Dense(3, 2)
    >>> path = os.path.join(tempfile.mkdtemp(), "m.npz")
    >>> save_params(trained, path)
    >>> load_params(m, path)
    >>> bool((m.W.data == trained.W.data).all())
    True
    """
    params(m)
    with _opened(Path(path), len(list(_named(m, None)))) as (stored, read):
        names = max((None, "torch"), key=lambda names: len({n for n, _, _ in _named(m, names)} & stored.keys()))
        here = _by_name(m, names)
        wrong = _misfits(here, stored)
        if not wrong:
            arrays = {k: read(k) for k in here}
            wrong = [f"{k} is not finite" for k, a in arrays.items() if not np.isfinite(a).all()]
            wrong += _unequal_copies(here, arrays)
    if wrong:
        raise ArchiveError(f"{path} does not fit the model: " + "; ".join(sorted(wrong)))
    owners = {id(p.value): p for p in params(m)}
    for k, live in here.items():
        if id(live) in owners:
            owners[id(live)].data = arrays[k]  # the setter marks earlier graphs as stale
        else:
            live[...] = arrays[k]


Stored = dict[str, tuple[str, tuple[int, ...]]]
"""The dtype and shape of each array in a file."""


def _misfits(here: dict[str, np.ndarray], stored: Stored) -> list[str]:
    """List wrong names, dtypes and shapes; no array is read for it."""
    wrong = [f"{k} is missing" for k in here if k not in stored]
    # torch counts batches; our layers need no counter
    extra = [k for k in stored if k not in here and k.rpartition(".")[2] != "num_batches_tracked"]
    wrong += [f"{k} is not in the model" for k in extra]
    for k in here.keys() & stored.keys():
        ours, theirs = (here[k].dtype.name, here[k].shape), stored[k]
        if ours != theirs:
            wrong.append(f"{k} is {theirs[0]} of shape {theirs[1]}, in the model {ours[0]} of shape {ours[1]}")
    return wrong


def _unequal_copies(here: dict[str, np.ndarray], arrays: dict[str, np.ndarray]) -> list[str]:
    """List parameters that layers of the model share, and that differ in the file."""
    first: dict[int, str] = {}
    pairs = [(first.setdefault(id(live), k), k) for k, live in here.items()]
    return [
        f"{a} and {b} differ in the file, but are one parameter in the model"
        for a, b in pairs
        if not np.array_equal(arrays[a], arrays[b])
    ]


@contextmanager
def _opened(path: Path, count: int) -> Iterator[tuple[Stored, Callable[[str], np.ndarray]]]:
    """Yield the dtypes and shapes that a file declares, and a function that reads one of its arrays."""
    if path.suffix != ".safetensors":
        arrays = archive.read(path, "weights")[1]
        yield {k: (a.dtype.name, a.shape) for k, a in arrays.items()}, arrays.__getitem__
        return
    library = _safetensors()
    archive.regular(path)
    with open(path, "rb") as file:
        header = int.from_bytes(file.read(8), "little")
    most = 1_000_000 + 1000 * count
    if header > most:
        raise ArchiveError(f"{path}: its header claims {header:,} bytes; that of the model has less than {most:,}")
    try:
        with library.safe_open(path, "np") as file:
            slices = {k: file.get_slice(k) for k in file.keys()}  # noqa: SIM118 - not a mapping
            dtypes = {k: re.sub(r"^F(?=\d+$)", "float", v.get_dtype()) for k, v in slices.items()}  # F32 is float32
            stored = {k: (dtypes[k], tuple(v.get_shape())) for k, v in slices.items()}
            yield stored, file.get_tensor
    except library.SafetensorError as error:
        raise ArchiveError(f"{path} is truncated, damaged, or not a safetensors file ({error})") from None


def _safetensors() -> ModuleType:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(
            "files that end in .safetensors need the package safetensors: pip install fluxmagic[safetensors]"
        ) from None
    return safetensors


def _by_name(m: object, names: str | None) -> dict[str, np.ndarray]:
    """Return the arrays of a model by name; refuse names that are not unique or do not fit into a file."""
    places: dict[str, list[str]] = {}
    arrays = {}
    for name, place, a in _named(m, names):
        places.setdefault(name, []).append(place)
        arrays[name] = a
    same = [f"{name!r} would be {' and '.join(each)}" for name, each in places.items() if len(each) > 1]
    if same:
        raise ValueError(
            f"names of the model's parameters are not unique: {'; '.join(same)}: "
            + ("use names=None" if names else "keep them in a list, a dict or attributes of their own")
        )
    bad = [name for name in arrays if not name.isprintable() or len(name) > _LONGEST_NAME]
    if bad:
        raise ValueError(
            f"names of parameters in a file are printable and at most {_LONGEST_NAME} long, not {bad[0]!r}"
        )
    return arrays


_LONGEST_NAME = 10_000  # a zip's names end at 65,535 bytes


def _named(m: object, names: str | None) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield each array of a model with its name and its place."""
    if names not in (None, "torch"):
        raise ValueError(f"names is None or 'torch', not {names!r}")
    if names == "torch" and isinstance(m, Chain):
        n = 0
        for i, layer in enumerate(m):
            yield from ((f"{n}.{name}", f"[{i}]{place}", a) for name, place, a in _named(layer, names))
            n += 1 if getattr(layer, "σ", identity) is identity else 2
        return
    for path, x in traverse(m):
        if isinstance(x, Param):
            yield _name(path, names), path, x.value
        else:
            for k in buffer_names(x):
                yield _name(f"{path}.{k}", names), f"{path}.{k}", getattr(x, k)


def _name(path: str, names: str | None) -> str:
    parts = re.findall(r"[^\[\].']+", path)
    if names is None or not parts:
        return path or "W"
    return ".".join([*parts[:-1], _TORCH.get(parts[-1], parts[-1])])
