"""Functions whose result is plain: integers, truth values, and what is flat almost everywhere.

What hands an argument's values on, np.unique among it, is not plain: its gradient would be lost in silence.
"""

import numpy as np

from fluxmagic.tracker.array import Tracked
from fluxmagic.tracker.operation import plain, refused

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
plain(np.triu_indices_from, np.tril_indices_from, np.diag_indices_from)

# -- steps, flat almost everywhere -------------------------------------------------------------------

plain(np.round, np.around, methods="round")
plain(np.floor_divide, operators="floordiv rfloordiv")
plain(np.sign, np.floor, np.ceil, np.rint, np.trunc, np.fix, np.spacing)

# -- shapes, kinds, memory ---------------------------------------------------------------------------

plain(np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like)
plain(np.iscomplexobj, np.isrealobj, np.iscomplex, np.isreal, np.imag)
plain(np.result_type, np.can_cast, np.common_type, np.min_scalar_type)
plain(np.may_share_memory, np.shares_memory)
Tracked.imag = property(lambda x: np.zeros(x.shape, x.dtype), doc="Zeros: tracked arrays are real.")  # type: ignore[attr-defined]

# -- texts and files ---------------------------------------------------------------------------------

plain(np.array2string, np.array_repr, np.array_str)
plain(np.save, np.savez, np.savez_compressed, np.savetxt)

# -- what writes in place ----------------------------------------------------------------------------

_INSTEAD = (
    "it writes in place; build a new array (np.where, np.concatenate), or, for a parameter W, use "
    "update(W, Δ) or write to W.data"
)
refused(
    np.copyto,
    instead=f"{_INSTEAD}. np.full_like(a, W) and np.nan_to_num(a, nan=W) of a plain array come here, too: write "
    "np.broadcast_to(W, a.shape) and np.where(np.isnan(a), W, a)",
)
refused(
    np.put,
    np.place,
    np.putmask,
    np.fill_diagonal,
    np.put_along_axis,
    instead=_INSTEAD,
)
