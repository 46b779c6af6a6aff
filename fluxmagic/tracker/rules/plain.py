"""Functions whose result is plain: integers, truth values, and what is flat almost everywhere.

What hands an argument's values on, np.unique among it, is not plain: its gradient would be lost in silence.
"""

from typing import Any

import numpy as np

from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.operation import composed, plain, refused

# -- comparisons -------------------------------------------------------------------------------------

plain(np.equal, np.not_equal, operators="eq ne")
plain(np.less, np.less_equal, np.greater, np.greater_equal, operators="lt le gt ge")
plain(np.isclose, np.allclose, np.array_equal, np.array_equiv, np.isin)
plain(np.isnan, np.isinf, np.isfinite, np.isposinf, np.isneginf, np.signbit)
plain(np.logical_and, np.logical_or, np.logical_not, np.logical_xor)
plain(np.all, np.any, methods="all any")

# -- places and counts -------------------------------------------------------------------------------

plain(np.argmax, np.argmin, np.argsort, np.argpartition, methods="argmax argmin argsort argpartition")
plain(np.nonzero, np.searchsorted, methods="nonzero searchsorted")
plain(np.nanargmax, np.nanargmin, np.argwhere, np.flatnonzero, np.count_nonzero, np.lexsort, np.digitize)
plain(np.histogram_bin_edges, np.triu_indices_from, np.tril_indices_from, np.diag_indices_from)

# -- steps, flat almost everywhere -------------------------------------------------------------------

plain(np.round, np.around, methods="round")
plain(np.floor_divide, operators="floordiv rfloordiv")
plain(np.sign, np.floor, np.ceil, np.rint, np.trunc, np.fix, np.heaviside, np.spacing)

# -- shapes, kinds, memory ---------------------------------------------------------------------------

plain(np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like)
plain(np.iscomplexobj, np.isrealobj, np.iscomplex, np.isreal, np.imag)
plain(np.result_type, np.can_cast, np.common_type, np.min_scalar_type)
plain(np.may_share_memory, np.shares_memory)
Tracked.imag = property(lambda x: np.zeros(x.shape, x.dtype), doc="Zeros: tracked arrays are real.")  # type: ignore[attr-defined]

# -- texts and files ---------------------------------------------------------------------------------

plain(np.array2string, np.array_repr, np.array_str)
plain(np.save, np.savez, np.savez_compressed, np.savetxt)

# -- counts, whose weights would have a gradient -------------------------------------------------------


def _counted(function: Any, place: int) -> None:
    def count(*args: Any, **options: Any) -> Any:
        if any(isinstance(w, Tracked) for w in (options.get("weights"), *args[place : place + 1])):
            raise TypeError("no gradient passes through weights=; give them as a plain array (.data)")
        return function(*(_plain(x) for x in args), **{k: _plain(v) for k, v in options.items()})

    composed(function)(count)


def _plain(x: Any) -> Any:
    return x.data if isinstance(x, Tracked) else x


_counted(np.histogram, 4)
_counted(np.histogram2d, 5)

# -- what writes in place ----------------------------------------------------------------------------

refused(
    np.copyto,
    np.put,
    np.place,
    np.putmask,
    np.fill_diagonal,
    np.put_along_axis,
    instead="it writes in place; build a new array (np.where, np.concatenate), or, for a parameter W, use "
    "update(W, Δ) or write to W.data",
)
