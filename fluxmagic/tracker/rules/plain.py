"""Functions whose result is plain: integers, truth values, and what is flat almost everywhere."""

import numpy as np

from fluxmagic.tracker.operation import plain

plain(np.equal, np.not_equal, operators="eq ne")
plain(np.less, np.less_equal, np.greater, np.greater_equal, operators="lt le gt ge")
plain(np.argmax, np.argmin, np.argsort, methods="argmax argmin argsort")
plain(np.nonzero, np.all, np.any, methods="nonzero all any")
plain(np.round, np.around, methods="round")
plain(np.floor_divide, operators="floordiv rfloordiv")
plain(np.sign, np.floor, np.ceil, np.rint, np.trunc, np.fix)
plain(np.isnan, np.isinf, np.isfinite, np.isposinf, np.isneginf, np.signbit, np.isclose, np.allclose)
plain(np.array_equal, np.array_equiv, np.shape, np.ndim, np.size)
plain(np.count_nonzero, np.flatnonzero, np.argwhere, np.argpartition, np.searchsorted, np.digitize, np.bincount)
plain(np.histogram, np.unique, np.isin, np.iscomplexobj, np.isrealobj, np.result_type, np.can_cast)
plain(np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.array2string, np.array_repr, np.array_str)
plain(np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.nanargmax, np.nanargmin)
plain(np.spacing, np.nextafter, np.may_share_memory, np.shares_memory, np.save, np.savetxt, np.histogram_bin_edges)
