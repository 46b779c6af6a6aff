"""The table of `tests.bench.operations`: PyTorch's name of an operation and the NumPy call for a sample's arguments.

A call returns None where NumPy has no such form.  `PLACES` and `REASONS` list where results differ, and why.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

import fluxmagic as fm
from fluxmagic.tracker import data, scipy

# Of the same name and with the same arguments, in the same places.
SAME = """
abs acos acosh asin asinh atan atanh ceil cos cosh deg2rad exp exp2 expm1 floor isfinite isinf isnan isneginf isposinf
isreal log log10 log1p log2 logical_not positive rad2deg real reciprocal sign signbit sin sinc sinh sqrt square tan tanh
trunc fliplr flipud argwhere conj atan2 copysign float_power fmax fmin fmod heaviside hypot inner isin kron logaddexp
logaddexp2 logical_and logical_or logical_xor matmul maximum minimum outer remainder true_divide vdot allclose dot
floor_divide isclose pow diag tril triu trace broadcast_to hstack vstack dstack column_stack hsplit vsplit dsplit
"""
ALIKE = dict.fromkeys(SAME.split()) | {
    "bmm": "matmul",
    "broadcast_tensors": "broadcast_arrays",
    "conj_physical": "conj",
    "eq": "equal",
    "equal": "array_equal",
    "ge": "greater_equal",
    "gt": "greater",
    "le": "less_equal",
    "lt": "less",
    "max_binary": "maximum",
    "max_reduction_no_dim": "max",
    "min_binary": "minimum",
    "min_reduction_no_dim": "min",
    "mm": "matmul",
    "movedim": "moveaxis",
    "mul": "multiply",
    "mv": "matmul",
    "ne": "not_equal",
    "neg": "negative",
    "sgn": "sign",
    "transpose": "swapaxes",
    "transpose_copy": "swapaxes",
}

OPERATIONS: dict[str, Callable[..., Any]] = {name: getattr(np, ours or name) for name, ours in ALIKE.items()}


def torch_name(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function, which takes what PyTorch's takes, under PyTorch's names."""

    def enter(f: Callable[..., Any]) -> Callable[..., Any]:
        OPERATIONS.update(dict.fromkeys(names, f))
        return f

    return enter


def axes(dim: Any) -> Any:
    """NumPy's axis for PyTorch's dim; an empty dim means all."""
    if isinstance(dim, (list, tuple)):
        return tuple(dim) or None
    return dim


def at(dim: int, x: Any, index: Any) -> Any:
    """x[..., index, ...], with the index at dim."""
    return x[(slice(None),) * (dim % x.ndim) + (index,)]


# arithmetic


@torch_name("add")
def _(x: Any, other: Any, alpha: Any = 1) -> Any:
    return np.add(x, other if alpha == 1 else np.multiply(alpha, other))


@torch_name("sub")
def _(x: Any, other: Any, alpha: Any = 1) -> Any:
    return np.subtract(x, other if alpha == 1 else np.multiply(alpha, other))


@torch_name("rsub")
def _(x: Any, other: Any, alpha: Any = 1) -> Any:
    return other - (x if alpha == 1 else alpha * x)


@torch_name("div_no_rounding_mode", "div_floor_rounding", "div_trunc_rounding")
def _(x: Any, other: Any, rounding_mode: str | None = None) -> Any:
    if rounding_mode == "floor":
        return np.floor_divide(x, other)
    return np.trunc(np.divide(x, other)) if rounding_mode else np.divide(x, other)


OPERATIONS |= {
    "__radd__": lambda x, other: other + x,
    "__rdiv__": lambda x, other: other / x,
    "__rmatmul__": lambda x, other: other @ x,
    "__rmod__": lambda x, other: other % x,
    "__rmul__": lambda x, other: other * x,
    "__rpow__": lambda x, other: other**x,
    "__rsub__": lambda x, other: other - x,
    "addcdiv": lambda x, a, b, value=1: x + value * a / b,
    "addcmul": lambda x, a, b, value=1: x + value * a * b,
    "frac": lambda x: np.modf(x)[0],
    "lerp": lambda a, b, weight: a + weight * (b - a),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "round": np.round,
    "round_decimals_0": lambda x, decimals: np.round(x, decimals),
    "round_decimals_3": lambda x, decimals: np.round(x, decimals),
    "round_decimals_neg_3": lambda x, decimals: np.round(x, decimals),
    "nan_to_num": lambda x, nan=0.0, posinf=None, neginf=None: np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf),
    "clamp": lambda x, low=None, high=None: np.clip(x, low, high),
    "clamp_min": lambda x, low: np.clip(x, low, None),
    "clamp_max": lambda x, high: np.clip(x, None, high),
    "where": lambda x, condition, other: np.where(condition, x, other),
    "masked_fill": lambda x, mask, value: np.where(mask, value, x),
    "fill": lambda x, value: np.full_like(x, value),
}

# scipy.special, and what networks are made of


def averaged(mean: Any, reduction: str, n: int, of: int = 1) -> Any:
    """A loss that is a mean over n, as PyTorch's: a sum, or a mean over n × of."""
    return {"mean": lambda: mean / of, "sum": lambda: mean * n}.get(reduction, lambda: None)()


OPERATIONS |= {
    "digamma": special.digamma,
    "erf": special.erf,
    "erfc": special.erfc,
    "erfinv": special.erfinv,
    "lgamma": special.gammaln,
    "logit": lambda x, eps=None: special.logit(x if eps is None else np.clip(x, eps, 1 - eps)),
    "sigmoid": special.expit,
    "special_entr": special.entr,
    "special_ndtr": special.ndtr,
    "special_xlog1py": special.xlog1py,
    "xlogy": special.xlogy,
    "nn_functional_relu": lambda x, inplace=False: fm.relu(x),
    "nn_functional_leaky_relu": lambda x, negative_slope=0.01, inplace=False: fm.leakyrelu(x, negative_slope),
    "nn_functional_elu": lambda x, alpha=1.0, inplace=False: fm.elu(x, alpha),
    "nn_functional_gelu": lambda x, approximate="none": fm.gelu(x) if approximate == "tanh" else None,
    "nn_functional_silu": lambda x, inplace=False: fm.swish(x),
    "nn_functional_logsigmoid": fm.logσ,
    "nn_functional_mse_loss": lambda x, y, reduction="mean": averaged(fm.mse(x, y), reduction, x.size),
    "nn_functional_l1_loss": lambda x, y, reduction="mean": averaged(fm.mae(x, y), reduction, x.size),
}


OPERATIONS |= {
    "i0": special.i0,
    "igamma": special.gammainc,
    "igammac": special.gammaincc,
    "special_erfcx": special.erfcx,
    "special_i1": special.i1,
    "special_modified_bessel_i0": special.i0,
    "special_modified_bessel_i1": special.i1,
    "special_log_ndtr": special.log_ndtr,
    "special_ndtri": special.ndtri,
    "nn_functional_huber_loss": lambda x, y, reduction="mean", delta=1.0: reduced(
        special.huber(float(delta), y - x), reduction
    ),
    "nn_functional_smooth_l1_loss": lambda x, y, reduction="mean", beta=1.0: (
        reduced(special.huber(float(beta), y - x) / beta, reduction) if beta else None
    ),
    "logsumexp": lambda x, dim, keepdim=False: scipy.logsumexp(x, axis=axes(dim), keepdims=keepdim),
}
for n in range(3):  # the higher ones take a minute each, and the same way
    OPERATIONS[f"polygamma_polygamma_n_{n}"] = lambda x, n: scipy.polygamma(n, x)
OPERATIONS["special_polygamma_special_polygamma_n_0"] = OPERATIONS["polygamma_polygamma_n_0"]
for p in (1, 3, 5):
    OPERATIONS[f"mvlgamma_mvlgamma_p_{p}"] = lambda x, p: scipy.multigammaln(x, p)


def reduced(y: Any, reduction: str) -> Any:
    """A loss by element, as PyTorch reduces it."""
    return {"mean": np.mean, "sum": np.sum}.get(reduction, lambda y: y)(y)


def masked(f: Callable[..., Any], sign: float = 1) -> Callable[..., Any]:
    """f of what a mask lets in: the rest counts as -∞."""

    def call(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
        x = sign * (x if dtype is None else x.astype(dtype))
        options = {"keepdims": True} if keepdim else {}
        return f(x if mask is None else np.where(mask, x, -np.inf), axis=axes(dim), **options)

    return call


OPERATIONS |= {
    "masked_softmax": masked(scipy.softmax),
    "masked_softmin": masked(scipy.softmax, -1),
    "masked_log_softmax": masked(scipy.log_softmax),
    "masked_logsumexp": masked(scipy.logsumexp),
    "torch_ops_aten__safe_softmax_default": lambda x, dim, dtype=None: (
        scipy.softmax(x, axis=dim) if np.isfinite(data(x)).any(axis=dim).all() else None
    ),
}


@torch_name("nn_functional_softplus")
def _(x: Any, beta: float = 1, threshold: float = 20) -> Any:
    return fm.softplus(x * beta) / beta if (data(x) * beta <= threshold).all() else None


@torch_name("softmax", "softmax_with_dtype")
def _softmax(x: Any, dim: int, dtype: Any = None) -> Any:
    return fm.softmax(x if dtype is None else x.astype(dtype), axis=dim)


@torch_name("nn_functional_softmin", "nn_functional_softmin_with_dtype")
def _(x: Any, dim: int, dtype: Any = None) -> Any:
    return _softmax(-x, dim, dtype)


@torch_name("log_softmax", "log_softmax_with_dtype")
def _(x: Any, dim: int, dtype: Any = None) -> Any:
    return fm.logsoftmax(x if dtype is None else x.astype(dtype), axis=dim)


@torch_name("nn_functional_cross_entropy")
def _(x: Any, target: Any, reduction: str = "mean", **options: Any) -> Any:
    if options or x.ndim != 2 or np.ndim(target) != 1:  # to us rows of targets are plain, and sum to 1
        return None
    return averaged(fm.logitcrossentropy(x, target), reduction, len(x))


def binary(loss: Callable[..., Any], x: Any, y: Any, weight: Any, reduction: str) -> Any:
    """A binary cross-entropy, which we sum over the outputs of a sample."""
    n = len(x) if x.ndim else 1
    return averaged(loss(x, y), reduction, n, x.size // n) if weight is None and x.size else None


@torch_name("nn_functional_binary_cross_entropy")
def _(x: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Any:
    return binary(fm.binarycrossentropy, x, target, weight, reduction)


@torch_name("nn_functional_binary_cross_entropy_with_logits")
def _(x: Any, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> Any:
    return binary(fm.logitbinarycrossentropy, x, target, weight, reduction) if pos_weight is None else None


@torch_name("nn_functional_linear")
def _(x: Any, W: Any, b: Any = None) -> Any:
    layer = fm.Dense(*W.shape[::-1], dtype=np.float64)
    layer.W = W
    if b is not None:
        layer.b = b
    return layer(x)


@torch_name("nn_functional_layer_norm")
def _(x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    if len(shape) > 1 or eps <= 0:  # over several axes we have no layer
        return None
    return normed(fm.LayerNorm(*shape, ϵ=eps, dtype=np.float64), x, weight, bias)


@torch_name("nn_functional_batch_norm")
def _(
    x: Any,
    mean: Any,
    var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if x.ndim < 2 or eps <= 0:
        return None
    layer = fm.BatchNorm(x.shape[1], ϵ=eps, dtype=np.float64)
    if not training:
        layer.mean, layer.var = mean, var
        fm.testmode(layer)
    return np.moveaxis(normed(layer, np.moveaxis(x, 1, -1), weight, bias), -1, 1)


def normed(layer: Any, x: Any, weight: Any, bias: Any) -> Any:
    """What a layer with these for γ and β gives."""
    layer.γ = layer.γ if weight is None else weight
    layer.β = layer.β if bias is None else bias
    return layer(x)


# products


OPERATIONS |= {
    "addbmm": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * np.sum(np.matmul(a, b), axis=0),
    "addmm": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * np.matmul(a, b),
    "addr": lambda x, a, b, beta=1, alpha=1: beta * x + alpha * np.outer(a, b),
    "einsum": lambda operands, equation: np.einsum(equation, *operands),
    "linalg_cross": lambda a, b, dim=-1: np.cross(a, b, axis=dim),
    "linalg_vecdot": lambda a, b, dim=-1: np.vecdot(a, b, axis=dim),
    "linalg_multi_dot": lambda xs: np.linalg.multi_dot(xs),
    "tensordot": lambda a, b, dims: np.tensordot(a, b, dims),
}
OPERATIONS |= dict.fromkeys(["addmm_decomposed", "addmv", "baddbmm"], OPERATIONS["addmm"])


@torch_name("cross")
def _(a: Any, b: Any, dim: int | None = None) -> Any:
    return np.cross(a, b, axis=np.shape(a).index(3) if dim is None else dim)


# linear algebra

OPERATIONS |= {
    "cholesky": lambda x, upper=False: np.linalg.cholesky(x, upper=upper),
    "linalg_cholesky": lambda x, upper=False: np.linalg.cholesky(x, upper=upper),
    "linalg_det": np.linalg.det,
    "linalg_diagonal": lambda x, offset=0, dim1=-2, dim2=-1: np.diagonal(x, offset, dim1, dim2),
    "linalg_eigvalsh": lambda x, UPLO="L": np.linalg.eigvalsh(x, UPLO),
    "linalg_inv": np.linalg.inv,
    "linalg_matrix_norm": lambda x, ord="fro", dim=(-2, -1), keepdim=False: np.linalg.norm(x, ord, tuple(dim), keepdim),
    "linalg_matrix_power": np.linalg.matrix_power,
    "linalg_norm": lambda x, ord=None, dim=None, keepdim=False: np.linalg.norm(x, ord, axes(dim), keepdim),
    "linalg_slogdet": np.linalg.slogdet,
    "linalg_svdvals": np.linalg.svdvals,
    "logdet": lambda x: np.log(np.linalg.det(x)),
    "dist": lambda x, y, p=2: np.linalg.norm(np.ravel(x - y), p),
    "norm_fro": lambda x, p="fro", dim=None: np.linalg.norm(x, p, axes(dim)),
    "norm_nuc": lambda x, p="nuc", dim=None: np.linalg.norm(x, p, axes(dim)),
}
OPERATIONS["linalg_norm_subgradients_at_zero"] = OPERATIONS["linalg_norm"]


OPERATIONS["linalg_vander"] = lambda x, N=None: np.vander(x, N, increasing=True) if x.ndim == 1 else None


@torch_name("linalg_qr", "qr")
def _(x: Any, mode: str = "reduced", some: bool = True) -> Any:
    if (not some and x.shape[-2] > x.shape[-1]) or (mode == "complete" and x.shape[-2] > x.shape[-1]):
        return None
    y = np.linalg.qr(x, mode)
    return (np.zeros(0), y) if mode == "r" else tuple(y)


@torch_name("linalg_lstsq", "linalg_lstsq_grad_oriented")
def _(a: Any, b: Any, rcond: Any = None, driver: str | None = None) -> Any:
    return np.linalg.lstsq(a, b)[0] if a.ndim == 2 and min(a.shape) else None


@torch_name("linalg_solve_triangular")
def _(a: Any, b: Any, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    if a.ndim > 2 or b.ndim > 2 or not b.size:
        return None
    if left:
        return scipy.solve_triangular(a, b, lower=not upper, unit_diagonal=unitriangular)
    return scipy.solve_triangular(a, b.T, trans=1, lower=not upper, unit_diagonal=unitriangular).T


@torch_name("triangular_solve")
def _(b: Any, a: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False) -> Any:
    if a.ndim > 2 or b.ndim > 2 or not b.size:
        return None
    return scipy.solve_triangular(a, b, int(transpose), not upper, unitriangular), np.copy(a)


@torch_name("linalg_eigh")
def _(x: Any, UPLO: str = "L") -> Any:
    values, vectors = np.linalg.eigh(x, UPLO)
    return values, np.abs(vectors)  # as in the database: the sign of a vector is free


@torch_name("linalg_svd", "svd")
def _(x: Any, full_matrices: bool = False, some: bool = True) -> Any:
    if (full_matrices or not some) and x.shape[-1] != x.shape[-2]:
        return None
    return np.linalg.svd(x, full_matrices=False)


FIRST = {"linalg_lstsq", "linalg_lstsq_grad_oriented"}  # of the results the first alone is compared: rank, s differ

# Signs of singular vectors are free: by its functions of these names the database makes of the factors what is not.
DETERMINED: dict[str, Callable[..., Any]] = {
    "fn_U": lambda u, s, vh: np.abs(u),
    "fn_S": lambda u, s, vh: s,
    "fn_Vh": lambda u, s, vh: (s, np.abs(vh)),
    "fn_UVh": lambda u, s, vh: (u @ vh, s),
}


@torch_name("linalg_solve")
def _(a: Any, b: Any, left: bool = True) -> Any:
    vectors = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    if not left:
        return None
    return np.linalg.solve(a, b[..., None])[..., 0] if vectors and b.ndim > 1 else np.linalg.solve(a, b)


@torch_name("linalg_pinv", "pinverse")
def _(x: Any, rcond: Any = None, rtol: Any = None, atol: Any = None) -> Any:
    if atol is not None:
        return None
    rcond = rtol if rcond is None else rcond
    return np.linalg.pinv(x) if rcond is None else np.linalg.pinv(x, rcond)


@torch_name("linalg_pinv_hermitian")
def _(x: Any, hermitian: bool = True, rtol: Any = None, atol: Any = None) -> Any:
    if atol is not None:
        return None
    return np.linalg.pinv(x, hermitian=hermitian) if rtol is None else np.linalg.pinv(x, rtol, hermitian)


@torch_name("linalg_matrix_rank", "linalg_matrix_rank_hermitian")
def _(x: Any, hermitian: bool = False, rtol: Any = None, atol: Any = None, tol: Any = None) -> Any:
    if rtol is not None and (atol is not None or np.any(rtol)):
        return None
    return np.linalg.matrix_rank(x, atol if tol is None else tol, hermitian)


@torch_name("linalg_vector_norm", "norm", "norm_inf")
def _(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    if isinstance(ord, str):
        return np.linalg.norm(x, ord, axes(dim), keepdim)
    return np.linalg.vector_norm(x, axis=axes(dim), keepdims=keepdim, ord=ord)


# reductions


def reduction(f: Callable[..., Any]) -> Callable[..., Any]:
    """f as PyTorch calls it."""

    def reduced(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, mask: Any = True) -> Any:
        options: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
        if mask is not True and mask is not None:
            options["where"] = mask
        if f in (np.max, np.min) and options:
            options["initial"] = -np.inf if f is np.max else np.inf
        return f(x, axis=axes(dim), keepdims=keepdim, **options)

    return reduced


for name in ("sum", "mean", "prod", "all", "any", "nansum", "nanmean", "count_nonzero"):
    OPERATIONS[name] = reduction(getattr(np, name))
for name, f in {"sum": np.sum, "mean": np.mean, "prod": np.prod, "amax": np.max, "amin": np.min}.items():
    OPERATIONS["masked_" + name] = reduction(f)
OPERATIONS |= {
    "amax": reduction(np.max),
    "amin": reduction(np.min),
    "argmax": lambda x, dim=None, keepdim=False: np.argmax(x, axis=dim, keepdims=keepdim),
    "argmin": lambda x, dim=None, keepdim=False: np.argmin(x, axis=dim, keepdims=keepdim),
    "aminmax": lambda x, dim=None, keepdim=False: [f(x, axis=dim, keepdims=keepdim) for f in (np.min, np.max)],
    "max_reduction_with_dim": lambda x, dim, keepdim=False: [
        f(x, axis=dim, keepdims=keepdim) for f in (np.max, np.argmax)
    ],
    "min_reduction_with_dim": lambda x, dim, keepdim=False: [
        f(x, axis=dim, keepdims=keepdim) for f in (np.min, np.argmin)
    ],
    "cumsum": lambda x, dim, dtype=None: np.cumsum(x, dim, dtype),
    "cumprod": lambda x, dim, dtype=None: np.cumprod(x, dim, dtype),
    "masked_cumsum": lambda x, dim, dtype=None, mask=None: np.cumsum(
        x if mask is None else np.where(mask, x, 0.0), dim, dtype
    ),
    "masked_cumprod": lambda x, dim, dtype=None, mask=None: np.cumprod(
        x if mask is None else np.where(mask, x, 1.0), dim, dtype
    ),
    "diff": lambda x, n=1, dim=-1, prepend=None, append=None: np.diff(
        x, n, dim, **{k: v for k, v in (("prepend", prepend), ("append", append)) if v is not None}
    ),
    "trapezoid": lambda y, x=None, dim=-1, dx=1.0: np.trapezoid(y, x, dx, dim),
    "trapz": lambda y, x=None, dim=-1, dx=1.0: np.trapezoid(y, x, dx, dim),
}


def spread(f: Callable[..., Any]) -> Callable[..., Any]:
    """np.var or np.std as PyTorch calls it."""

    def measure(x: Any, dim: Any = None, keepdim: bool = False, mask: Any = None, **options: Any) -> Any:
        if isinstance(dim, bool):  # var(x, unbiased)
            dim, options["unbiased"] = None, dim
        ddof = options.get("correction", int(options.get("unbiased", True)))
        where = {} if mask is None else {"where": mask}
        return f(x, axis=axes(dim), keepdims=keepdim, ddof=1 if ddof is None else ddof, **where)

    return measure


for name, f in {"var": np.var, "std": np.std}.items():
    OPERATIONS[name] = OPERATIONS[name + "_unbiased"] = OPERATIONS["masked_" + name] = spread(f)


@torch_name("var_mean", "var_mean_unbiased")
def _(x: Any, dim: Any = None, keepdim: bool = False, **options: Any) -> Any:
    over = None if isinstance(dim, bool) else axes(dim)
    return OPERATIONS["var"](x, dim, keepdim, **options), np.mean(x, axis=over, keepdims=keepdim)


@torch_name("std_mean", "std_mean_unbiased")
def _(x: Any, dim: Any = None, keepdim: bool = False, **options: Any) -> Any:
    over = None if isinstance(dim, bool) else axes(dim)
    return OPERATIONS["std"](x, dim, keepdim, **options), np.mean(x, axis=over, keepdims=keepdim)


@torch_name("median")
def _(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    n = x.size if dim is None or not x.ndim else x.shape[dim]
    if n % 2 == 0:  # PyTorch takes the lower of two
        return None
    y = np.median(x, axis=dim, keepdims=keepdim)
    return y if dim is None else (y, at(dim, order(x, dim), slice(n // 2, n // 2 + 1) if keepdim else n // 2))


@torch_name("quantile")
def _(x: Any, q: Any, dim: Any = None, keepdim: bool = False, interpolation: str = "linear") -> Any:
    return np.quantile(x, q, axis=dim, keepdims=keepdim) if interpolation == "linear" else None


# scans, statistics and grids


def running(f: Any, x: Any, dim: int) -> Any:
    """Running extremes, and the places of the last that is one."""
    y = f.accumulate(x, axis=dim) if x.ndim else np.copy(x)
    if not x.ndim:
        return y, np.zeros((), int)
    values, run = data(x), data(y)
    n = np.arange(values.shape[dim]).reshape([-1 if i == dim % x.ndim else 1 for i in range(x.ndim)])
    at = (values == run) | (np.isnan(values) & np.isnan(run))
    return y, np.maximum.accumulate(np.where(at, n, 0), axis=dim)


OPERATIONS |= {
    "cummax": lambda x, dim: running(np.maximum, x, dim),
    "cummin": lambda x, dim: running(np.minimum, x, dim),
    "logcumsumexp": lambda x, dim: np.logaddexp.accumulate(x, axis=dim) if x.ndim else np.copy(x),
    "cov": lambda x, correction=1, fweights=None, aweights=None: np.cov(
        x, ddof=correction, fweights=fweights, aweights=aweights
    ),
    "corrcoef": np.corrcoef,
    "searchsorted": lambda sorted_, v, side="left", right=False, **_: (
        np.searchsorted(sorted_, v, "right" if right else side) if sorted_.ndim == 1 and "sorter" not in _ else None
    ),
    "fft_fftshift": lambda x, dim=None: np.fft.fftshift(x, dim),
    "fft_ifftshift": lambda x, dim=None: np.fft.ifftshift(x, dim),
}


def doubled(x: Any) -> Any:
    return x.astype(np.float64) if hasattr(x, "dtype") else x


@torch_name("linspace", "linspace_tensor_overload")
def _(start: Any, end: Any, steps: int, **_: Any) -> Any:
    return np.linspace(doubled(start), doubled(end), steps)


@torch_name("logspace", "logspace_tensor_overload")
def _(start: Any, end: Any, steps: int, base: float = 10, **_: Any) -> Any:
    return np.logspace(doubled(start), doubled(end), steps, base=base)


@torch_name("gradient")
def _(x: Any, *, spacing: Any = 1.0, dim: Any = None, edge_order: int = 1) -> Any:
    spacing = spacing if isinstance(spacing, (list, tuple)) else [1.0 if spacing is None else spacing]
    y = np.gradient(x, *spacing, axis=dim, edge_order=edge_order)
    return list(y) if isinstance(y, tuple) else [y]


@torch_name("nanmedian")
def _(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    n = x.size if dim is None or not x.ndim else x.shape[dim]
    if n % 2 == 0 or np.isnan(data(x)).any() or dim is not None:  # PyTorch takes the lower of two
        return None
    return np.nanmedian(x)


@torch_name("nanquantile")
def _(x: Any, q: Any, dim: Any = None, keepdim: bool = False, interpolation: str = "linear") -> Any:
    return np.nanquantile(x, q, axis=dim, keepdims=keepdim) if interpolation == "linear" else None


@torch_name("unfold", "unfold_copy")
def _(x: Any, dim: int, size: int, step: int) -> Any:
    return at(dim, np.lib.stride_tricks.sliding_window_view(x, size, dim), slice(None, None, step)) if x.ndim else None


# shapes and axes

OPERATIONS |= {
    "T": lambda x: x.T,
    "H": lambda x: x.T,
    "mH": lambda x: x.mT,
    "mT": lambda x: x.mT,
    "t": lambda x: np.transpose(x),
    "t_copy": lambda x: np.transpose(x),
    "diagflat": lambda x, offset=0: np.diagflat(x, offset),
    "diagonal": lambda x, offset=0, dim1=0, dim2=1: np.diagonal(x, offset, dim1, dim2),
    "diagonal_copy": lambda x, offset=0, dim1=0, dim2=1: np.diagonal(x, offset, dim1, dim2),
    "permute": lambda x, dims: np.transpose(x, dims),
    "permute_copy": lambda x, dims: np.transpose(x, dims),
    "ravel": lambda x: np.ravel(x),
    "reshape": lambda x, shape: np.reshape(x, shape),
    "view": lambda x, shape: np.reshape(x, shape),
    "view_copy": lambda x, shape: np.reshape(x, shape),
    "reshape_as": lambda x, other: np.reshape(x, np.shape(other)),
    "view_as": lambda x, other: np.reshape(x, np.shape(other)),
    "squeeze": lambda x, dim=None: np.squeeze(x, dim),
    "squeeze_copy": lambda x, dim=None: np.squeeze(x, dim),
    "squeeze_multiple": lambda x, dim: np.squeeze(x, axes(dim)) if dim else None,
    "unsqueeze": lambda x, dim: np.expand_dims(x, dim),
    "unsqueeze_copy": lambda x, dim: np.expand_dims(x, dim),
    "expand_as": lambda x, other: np.broadcast_to(x, np.shape(other)),
    "flip": lambda x, dims: np.flip(x, tuple(dims)),
    "roll": lambda x, shifts, dims=None: np.roll(x, shifts, dims),
    "rot90": lambda x, k=1, dims=(0, 1): np.rot90(x, k, dims),
    "tile": lambda x, dims: np.tile(x, dims),
    "repeat_interleave": lambda x, repeats, dim=None, output_size=None: np.repeat(x, repeats, dim),
    "clone": lambda x, memory_format=None: np.copy(x),
    "double": lambda x, memory_format=None: x.astype(np.float64),
    "float": lambda x, memory_format=None: x.astype(np.float32),
    "zeros_like": lambda x, **_: np.zeros_like(x),
    "ones_like": lambda x, **_: np.ones_like(x),
    "full_like": lambda x, value, **_: np.full_like(x, value),
}


@torch_name("repeat")
def _(x: Any, *reps: Any) -> Any:
    return np.tile(x, reps[0] if isinstance(reps[0], (list, tuple)) else reps)


@torch_name("expand", "expand_copy")
def _(x: Any, shape: Any) -> Any:
    extra = len(shape) - x.ndim
    return np.broadcast_to(x, [x.shape[i - extra] if n == -1 else n for i, n in enumerate(shape)])


@torch_name("flatten")
def _(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    if x.ndim == 0:
        return np.ravel(x)
    start, end = start_dim % x.ndim, end_dim % x.ndim
    return np.reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


@torch_name("unflatten")
def _(x: Any, dim: int, sizes: Any) -> Any:
    dim %= x.ndim
    return np.reshape(x, (*x.shape[:dim], *sizes, *x.shape[dim + 1 :]))


def padded(x: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
    """PyTorch lists widths from the last axis on."""
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    mode = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    return np.pad(x, widths, mode, **({"constant_values": value or 0} if mode == "constant" else {}))


for name in ("constant", "reflect", "replicate", "replicate_negative", "circular"):
    OPERATIONS["nn_functional_pad_" + name] = padded
OPERATIONS["constant_pad_nd"] = lambda x, pad, value=0: padded(x, pad, "constant", value)


@torch_name("meshgrid_variadic_tensors", "meshgrid_list_of_tensors")
def _(first: Any, *more: Any, indexing: str = "ij") -> Any:
    arrays = first if isinstance(first, (list, tuple)) else [first, *more]
    return np.meshgrid(*arrays, indexing=indexing)


for f in (np.atleast_1d, np.atleast_2d, np.atleast_3d):
    OPERATIONS[f.__name__] = lambda x, *more, f=f: f(*x) if isinstance(x, (list, tuple)) else f(x, *more)

# joining and splitting

OPERATIONS |= {
    "cat": lambda xs, dim=0: np.concatenate(xs, dim),
    "stack": lambda xs, dim=0: np.stack(xs, dim),
    "tensor_split": lambda x, parts, dim=0: np.array_split(x, parts if np.ndim(parts) else int(parts), dim),
    "unbind": lambda x, dim=0: np.unstack(x, axis=dim),
    "unbind_copy": lambda x, dim=0: np.unstack(x, axis=dim),
}


@torch_name("split", "split_list_args", "split_with_sizes", "split_with_sizes_copy", "unsafe_split")
def _split(x: Any, size: Any, dim: int = 0) -> Any:
    cuts = np.cumsum(size)[:-1].tolist() if np.ndim(size) else list(range(size, x.shape[dim], size))
    return np.split(x, cuts, dim)


@torch_name("chunk", "unsafe_chunk")
def _(x: Any, chunks: int, dim: int = 0) -> Any:
    return _split(x, -(-x.shape[dim] // chunks), dim)


# indexing and order


def order(x: Any, dim: int = -1, descending: bool = False) -> Any:
    """Places in the order of the values, equal ones as they stand."""
    return np.argsort(-x if descending else x, axis=dim, kind="stable")


@torch_name("sort")
def _(x: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    y = np.sort(x, axis=dim)
    return np.flip(y, dim) if descending else y, order(x, dim, descending)


@torch_name("kthvalue")
def _kth(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    if not x.ndim:
        return None
    kth = slice(k - 1, k) if keepdim else k - 1
    return at(dim, np.partition(x, k - 1, axis=dim), kth), at(dim, order(x, dim), kth)


OPERATIONS |= {
    "__getitem__": lambda x, index: x[index],
    "gather": lambda x, dim, index, sparse_grad=False: np.take_along_axis(x, index, dim),
    "take_along_dim": lambda x, index, dim=None: np.take_along_axis(x, index, dim),
    "take": lambda x, index: np.take(x, index),
    "index_select": lambda x, dim, index: np.take(x, index, dim),
    "masked_select": lambda x, mask: x[mask] if x.shape == mask.shape else None,
    "select": lambda x, dim, index: at(dim, x, index),
    "narrow": lambda x, dim, start, length: (
        at(dim, x, slice(int(start), int(start) + length)) if int(start) >= 0 else None
    ),
    "slice": lambda x, dim=0, start=None, end=None, step=1: at(dim, x, slice(start, end, step)),
    "msort": lambda x: np.sort(x, axis=0),
    "argsort": lambda x, dim=-1, descending=False, stable=False: order(x, dim, descending),
    "nonzero": lambda x, as_tuple=False: np.nonzero(x) if as_tuple else np.argwhere(x),
}


# -- where the two differ, and why -------------------------------------------------------------------

NAN = "NaN's sign is NaN to NumPy, 0 to PyTorch"
PASSES = "a gradient through NaN goes where the NaN came from"
TIES = "ties share the gradient equally, two NaN have none; PyTorch gives it to one"

# For functions that work element by element: the places, given the sample's arrays, and the reason.
PLACES: dict[str, tuple[Callable[..., Any], str]] = {
    **dict.fromkeys(["abs", "sgn", "sign"], (lambda x: np.isnan(x), NAN)),
    **dict.fromkeys(["nn_functional_relu", "nn_functional_elu"], (lambda x, **_: np.isnan(x), PASSES)),
    **dict.fromkeys(
        ["maximum", "minimum", "max_binary", "min_binary"], (lambda a, b: np.isnan(a) | np.isnan(b), PASSES)
    ),
    **dict.fromkeys(["fmax", "fmin"], (lambda a, b: np.equal(a, b) | (np.isnan(a) & np.isnan(b)), TIES)),
    "acosh": (lambda x: np.less(x, 1), "outside of the domain the gradient is NaN, as the value"),
    "copysign": (lambda a, b: ~np.isfinite(a), "PyTorch divides infinite numbers, or NaN, to get a sign"),
    **dict.fromkeys(
        ["polygamma_polygamma_n_" + str(n) for n in range(3)] + ["special_polygamma_special_polygamma_n_0"],
        (
            lambda x, n: ~np.isfinite(x) | (np.equal(x, np.floor(x)) & np.less_equal(x, 0)),
            "at poles and at infinity the values are SciPy's",
        ),
    ),
    **dict.fromkeys(
        ["igamma", "igammac"], (lambda a, x: np.isinf(a) | np.isinf(x), "where both are infinite SciPy's value is NaN")
    ),
    "xlogy": (lambda x, y: np.equal(x, 0) & np.equal(y, 0), "0 log y is 0 for every y, and has no slope at 0 either"),
    "special_xlog1py": (lambda x, y: np.equal(x, 0) & np.equal(y, -1), "0 log y is 0 for every y, at 0 too"),
    "special_erfcx": (lambda x: np.isinf(x), "at infinity PyTorch multiplies 0 and ∞"),
    "special_i1": (
        lambda x: ~np.isfinite(special.i0(x)) | np.isnan(x),
        "NaN has the gradient NaN, what overflows an infinite one; PyTorch gives numbers and NaN",
    ),
    "special_log_ndtr": (
        lambda x: np.less(x, -1e3) | np.isinf(x),
        "far out PyTorch subtracts two squares that are nearly equal, we divide by erfcx",
    ),
    "digamma": (lambda x: np.equal(x, np.floor(x)) & np.less_equal(x, 0), "poles have an infinite gradient"),
    "frac": (lambda x: np.isinf(x), "NumPy's modf leaves 0 of what is infinite"),
    "heaviside": (lambda x, y: np.isnan(x), "NumPy's value of NaN is NaN"),
    "hypot": (lambda a, b: np.equal(a, 0) & np.equal(b, 0), "at the origin the gradient is 0"),
    "lgamma": (lambda x: np.isneginf(x), "SciPy's value of -∞ is -∞"),
    "logaddexp": (lambda a, b: np.isinf(a) & np.equal(a, b), "two infinite numbers share the gradient"),
    "sinc": (lambda x: np.less(np.abs(x), 1e-3), "around 0 PyTorch subtracts what is nearly equal, we take the series"),
    "logit": (
        lambda x, *_: np.less(x, 0) | np.greater(x, 1),
        "outside of the domain the value is NaN; the gradient is not",
    ),
}

# Operations that match the first -> what a note on the difference holds, and the reason.
REASONS: list[tuple[str, str, str]] = [
    ("mvlgamma*", "condition a", "SciPy refuses what is outside of the domain"),
    ("*quantile", "to the values alone", "q is no argument with a gradient to us; a tracked one is refused"),
    ("*", "shape (1,), PyTorch ()", "NumPy's scans and orderings of a scalar have one axis"),
]
