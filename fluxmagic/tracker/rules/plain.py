"""Functions whose result is plain: integers, truth values, and what is flat almost everywhere.

What hands an argument's values on, np.unique among it, is not plain: its gradient would be lost in silence.
"""

import numpy as np

from fluxmagic.tracker.operation import define_plain, define_unsupported

# -- comparisons -------------------------------------------------------------------------------------

define_plain(np.equal, np.not_equal)
define_plain(np.less, np.less_equal, np.greater, np.greater_equal)
define_plain(np.isclose, np.allclose, np.array_equal, np.array_equiv, np.isin)
define_plain(np.isnan, np.isinf, np.isfinite, np.isposinf, np.isneginf, np.signbit)
define_plain(np.logical_and, np.logical_or, np.logical_not, np.logical_xor)
define_plain(np.all, np.any)

# -- places and counts -------------------------------------------------------------------------------

define_plain(np.argmax, np.argmin, np.argsort, np.argpartition)
define_plain(np.nonzero, np.searchsorted)
define_plain(np.nanargmax, np.nanargmin, np.argwhere, np.flatnonzero, np.count_nonzero, np.lexsort, np.digitize)
define_plain(np.triu_indices_from, np.tril_indices_from, np.diag_indices_from)

# -- steps, flat almost everywhere -------------------------------------------------------------------

define_plain(np.round, np.around)
define_plain(np.floor_divide)
define_plain(np.sign, np.floor, np.ceil, np.rint, np.trunc, np.fix, np.spacing)

# -- shapes, kinds, memory ---------------------------------------------------------------------------

define_plain(np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like)
define_plain(np.iscomplexobj, np.isrealobj, np.iscomplex, np.isreal, np.imag)
define_plain(np.result_type, np.can_cast, np.common_type, np.min_scalar_type)
define_plain(np.may_share_memory, np.shares_memory)

# -- texts and files ---------------------------------------------------------------------------------

define_plain(np.array2string, np.array_repr, np.array_str)
define_plain(np.save, np.savez, np.savez_compressed, np.savetxt)

# -- what writes in place ----------------------------------------------------------------------------

_INSTEAD = (
    "it writes in place; build a new array (np.where, np.concatenate), or, for a parameter W, use "
    "update(W, Δ) or write to W.data"
)
define_unsupported(
    np.copyto,
    instead=f"{_INSTEAD}. np.full_like(a, W) and np.nan_to_num(a, nan=W) of a plain array come here, too: write "
    "np.broadcast_to(W, a.shape) and np.where(np.isnan(a), W, a)",
)
define_unsupported(np.put, np.place, np.putmask, np.fill_diagonal, np.put_along_axis, instead=_INSTEAD)
