"""Writes packages/testing/src/numpy-values.ts: what numpy makes of special values, for operations that are not elementwise.

Run it with python3 and numpy (2.4.6 made the table): python3 scripts/numpy-values.py
Gradients are those of the sum of products with weights, by the formulas below, in float64.
"""

import json
import pathlib

import numpy as np

np.seterr(all="ignore")
inf, nan = np.inf, np.nan
MAX, TINY = np.finfo(np.float32).max, np.finfo(np.float32).tiny
LEAST, MOST = -(2**31), 2**31 - 1

# One kind of row each: ties, both zeros, infinities, not a number at several places, the ends of the type.
ROWS = [
    [2.5, -3, 2.5, 0.5, -1],
    [0, -0.0, 0, 1, -0.0],
    [1, inf, -2, 0, 3],
    [1, -inf, -2, 0, 3],
    [inf, -inf, 1, 0, 2],
    [-inf] * 5,
    [inf] * 5,
    [nan, 1, 2, 3, 4],
    [1, 2, nan, inf, 4],
    [1, -inf, 3, 0, nan],
    [nan] * 5,
    [MAX, 1, MAX, 0, MAX],
    [-MAX, -1, -MAX, 0, -MAX],
    [1e20, -1e-20, 1e20, 3, 1e20],
    [88, 89, 100, -104, 50],
]
HALF_ROWS = [
    [300, 300, -300, 0.01, 2],
    [65504, 65504, 1, 0, -1],
    [65504, 65504, -65504, 2, 1],
    [0.25, 2**-14, 2**-24, 0, -0.0],
    [300, 1, 0.01, 300, 1],
    [1, inf, 2, 3, 4],
    [1, -inf, 2, 3, 4],
    [-inf] * 5,
    [1, 2, nan, 3, 4],
    [11, 12, 10, 9, 60],
]
WHOLE_ROWS = [
    [MOST, LEAST, 0, -1, 1],
    [MOST, MOST, MOST, 2, 3],
    [LEAST, LEAST, LEAST, -1, 2],
    [46341, 46341, 65536, -65537, 123456789],
    [-7, -7, 3, 3, -7],
    [LEAST] * 5,
    [MOST] * 5,
]

X = np.array(ROWS, np.float32)
H = np.array(HALF_ROWS, np.float16)
W = np.array(WHOLE_ROWS, np.int32)
cases = []


def text(x):
    """Type, shape and numbers, each as short as it can be read back."""
    x = np.asarray(x)
    kind = {"float64": "f32", "float32": "f32", "float16": "f16", "bool": "bool"}.get(str(x.dtype), "i32")
    single = x.astype(np.float32) if x.dtype.kind == "f" else x.astype(np.int64)
    return f"{kind} {','.join(map(str, x.shape))} {' '.join(map(number, single.ravel()))}"


def number(v):
    whole = v.dtype.kind == "i" or (np.isfinite(v) and v == np.floor(v) and abs(v) < 1e6 and not (v == 0 and np.signbit(v)))
    return str(int(v)) if whole else str(v)


inputs = {}


def case(name, attributes, given, *results):
    cases.append([name, attributes, [inputs.setdefault(text(x), len(inputs)) for x in given], [text(x) for x in results]])


def double(f, x, *rest, **named):
    """f in float64, rounded to the type of x: what is added up has no order then."""
    return f(x.astype(np.float64), *rest, **named).astype(x.dtype)


def single(f, x, *rest, **named):
    return f(x.astype(np.float32), *rest, **named).astype(x.dtype)


def log_sum_exp(x, axis):
    return np.logaddexp.reduce(x, axis=axis)


def softmax(x, axis):
    y = np.exp(x - x.max(axis=axis, keepdims=True))
    return y / y.sum(axis=axis, keepdims=True)


def log_softmax(x, axis):
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def by_keys(x, axis):
    """Indices from the largest down: not a number first, equal ones in their order."""
    x = np.moveaxis(x, axis, -1)
    out = np.empty(x.shape, np.int64)
    for at in np.ndindex(x.shape[:-1]):
        row = x[at]
        out[at] = sorted(range(len(row)), key=lambda k: (0, 0, k) if np.isnan(row[k]) else (1, -float(row[k]), k))
    return np.moveaxis(out, -1, axis)


# values in f32, along rows and along columns
for x, axis in [(X, 1), (X.T.copy(), 0)]:
    at = {"axis": axis}
    for name, f in [("sum", np.sum), ("mean", np.mean)]:
        # rows with numbers of both signs that overflow have no order-free sum
        case(name, at, [x], single(f, x, axis=axis) if name == "sum" else f(x, axis=axis))
    case("variance", at, [x], double(np.var, x, axis=axis))
    case("max", at, [x], x.max(axis=axis))
    case("min", at, [x], x.min(axis=axis))
    case("argmax", at, [x], x.argmax(axis=axis))
    case("any", at, [x], (x != 0).any(axis=axis))
    case("all", at, [x], (x != 0).all(axis=axis))
    case("cumsum", at, [x], np.cumsum(x, axis=axis))
    case("cumsumReverse", at, [x], np.flip(np.cumsum(np.flip(x, axis), axis=axis), axis))
    case("logSumExp", at, [x], double(log_sum_exp, x, axis))
    case("softmax", at, [x], double(softmax, x, axis))
    case("logSoftmax", at, [x], double(log_softmax, x, axis))
    case("sort", at, [x], np.sort(x, axis=axis))
    case("argsort", at, [x], np.argsort(x, axis=axis, kind="stable"))
    order = by_keys(x, axis)
    case("sortDescending", at, [x], np.take_along_axis(x, order, axis))
    first = np.take(order, range(3), axis)
    case("topk", {**at, "k": 3}, [x], np.take_along_axis(x, first, axis), first)
products = X[[0, 1, 2, 3, 4, 5, 6, 7, 8, 10]]
case("prod", {"axis": 1}, [products], products.prod(axis=1))

# long rows: the same five again and again, of which a few results at both ends are kept
def ends(y):
    return np.concatenate([y[:, :4], y[:, -4:]], axis=1)


for rows, repeats, ordered in [(X[[0, 2, 4, 7, 8, 9]], 7, True), (X[[2, 4, 8]], 30, True), (X[:13], 60, False)]:
    x = np.tile(rows, (1, repeats))
    at = {"axis": 1, "repeats": repeats, "ends": 4}
    case("sum", at, [rows], single(np.sum, x, axis=1))
    for name, f in [("max", np.max), ("min", np.min), ("argmax", np.argmax)]:
        case(name, at, [rows], f(x, axis=1))
    case("logSumExp", at, [rows], double(log_sum_exp, x, 1))
    case("variance", at, [rows], double(np.var, x, axis=1))
    case("softmax", at, [rows], ends(double(softmax, x, 1)))
    case("logSoftmax", at, [rows], ends(double(log_softmax, x, 1)))
    case("cumsum", at, [rows], ends(np.cumsum(x, axis=1)))
    case("cumsumReverse", at, [rows], ends(np.flip(np.cumsum(np.flip(x, 1), axis=1), 1)))
    if ordered:
        case("sort", at, [rows], ends(np.sort(x, axis=1)))
        case("argsort", at, [rows], ends(np.argsort(x, axis=1, kind="stable")))
    if repeats == 7:
        case("sortDescending", at, [rows], ends(np.take_along_axis(x, by_keys(x, 1), 1)))

# f16: added up and multiplied in f32 at least, rounded once
for name, f in [("sum", np.sum), ("mean", np.mean), ("prod", np.prod), ("variance", np.var)]:
    case(name, {"axis": 1}, [H], double(f, H, axis=1))
for name, f in [("max", np.max), ("min", np.min), ("argmax", np.argmax), ("sort", np.sort)]:
    case(name, {"axis": 1}, [H], f(H, axis=1))
case("logSumExp", {"axis": 1}, [H], double(log_sum_exp, H, 1))
case("softmax", {"axis": 1}, [H], double(softmax, H, 1))
case("logSoftmax", {"axis": 1}, [H], double(log_softmax, H, 1))

# i32 wraps around
for x, axis in [(W, 1), (W.T.copy(), 0)]:
    at = {"axis": axis}
    case("sum", at, [x], x.sum(axis=axis, dtype=np.int32))
    case("prod", at, [x], x.prod(axis=axis, dtype=np.int32))
    case("max", at, [x], x.max(axis=axis))
    case("min", at, [x], x.min(axis=axis))
    case("argmax", at, [x], x.argmax(axis=axis))
    case("any", at, [x], (x != 0).any(axis=axis))
    case("all", at, [x], (x != 0).all(axis=axis))
    case("sort", at, [x], np.sort(x, axis=axis))
    case("argsort", at, [x], np.argsort(x, axis=axis, kind="stable"))
    order = np.argsort(-x.astype(np.int64), axis=axis, kind="stable")
    case("sortDescending", at, [x], np.take_along_axis(x, order, axis))
    first = np.take(order, range(2), axis)
    case("topk", {**at, "k": 2}, [x], np.take_along_axis(x, first, axis), first)
long = np.tile(W, (1, 30))
at = {"axis": 1, "repeats": 30, "ends": 4}
case("sum", at, [W], long.sum(axis=1, dtype=np.int32))
case("max", at, [W], long.max(axis=1))
case("min", at, [W], long.min(axis=1))
case("sort", at, [W], ends(np.sort(long, axis=1)))

# nothing to combine
for name, f in [("sum", np.sum), ("prod", np.prod)]:
    case(name, {"axis": 1}, [np.zeros((2, 0), np.float32)], f(np.zeros((2, 0)), axis=1))
    case(name, {"axis": 1}, [np.zeros((2, 0), np.int32)], f(np.zeros((2, 0), np.int32), axis=1, dtype=np.int32))
for name, ends_ in [("max", (-inf, LEAST)), ("min", (inf, MOST))]:
    case(name, {"axis": 1}, [np.zeros((2, 0), np.float32)], np.full(2, ends_[0]))
    case(name, {"axis": 1}, [np.zeros((2, 0), np.int32)], np.full(2, ends_[1]))
case("any", {"axis": 1}, [np.zeros((2, 0), np.int32)], np.zeros(2, bool))
case("all", {"axis": 1}, [np.zeros((2, 0), np.int32)], np.ones(2, bool))
case("mean", {"axis": 1}, [np.zeros((2, 0), np.float32)], np.full(2, nan))
case("logSumExp", {"axis": 1}, [np.zeros((2, 0), np.float32)], np.full(2, -inf))

# indices at both ends of i32 are clamped
indices = np.array([0, -1, 4, 5, MOST, LEAST, 2], np.int32)
clamped = np.clip(indices, 0, 4)
table = X[[0, 2, 4, 8, 11]]
case("gather", {"axis": 0}, [table, indices], table[clamped])
case("gather", {"axis": 1}, [table, indices], table[:, clamped])
case("gather", {"axis": 0}, [W[:5], indices], W[:5][clamped])
updates = np.array([[1, 2], [inf, 0], [nan, 1], [-0.0, 3], [MAX, MAX], [5, -inf], [1, inf]], np.float32)
added = np.zeros((5, 2))
np.add.at(added, clamped, updates)
case("scatterAdd", {"size": 5}, [updates, indices], added)
labels = np.array([0, MOST, LEAST, 4, 1], np.int32)
picked = np.where((labels >= 0) & (labels < 5), np.take_along_axis(table, np.clip(labels, 0, 4)[:, None], 1)[:, 0], 0)
case("pick", {}, [table, labels], picked)

# products: 0 times infinity is no number, and only in rows and columns that have it
A = np.array([[1, 2, 0], [inf, 1, 0], [0, -inf, 1], [nan, 0, 0], [1e30, 1e30, 1], [1e-30, 3, MAX]], np.float32)
B = np.array([[1, 0, 2, -1], [0, 1, inf, 3], [2, 0, 1, nan]], np.float32)
case("matmul", {}, [A, B], A.astype(np.float64) @ B.astype(np.float64))
for rows, inner, columns in [(33, 40, 35), (70, 70, 66), (130, 64, 128)]:
    a = np.tile(np.array([1, -2, 0, 3, 0.5], np.float32), rows * inner)[: rows * inner].reshape(rows, inner)
    b = np.tile(np.array([2, 1, -1, 0, 4, 0.25, 1], np.float32), inner * columns)[: inner * columns].reshape(inner, columns)
    a[rows - 1, inner - 1], a[3, 2], a[5, 0] = inf, nan, -inf
    b[inner - 1, columns - 1], b[0, 7] = -inf, nan
    c = a.astype(np.float64) @ b.astype(np.float64)
    some = [0, 3, 4, 5, rows - 2, rows - 1]
    places = [0, 6, 7, 8, columns - 2, columns - 1]
    case("matmulWithSpots", {"rows": rows, "inner": inner, "columns": columns, "some": some, "places": places}, [], c[np.ix_(some, places)])

# movement and choice keep what they move
case("pad", {"low": [1, 0], "high": [0, 2], "value": "-inf"}, [table], np.pad(table, ((1, 0), (0, 2)), constant_values=-inf))
case("pad", {"low": [1, 0], "high": [0, 2], "value": "nan"}, [table], np.pad(table, ((1, 0), (0, 2)), constant_values=nan))
case("pad", {"low": [0, 1], "high": [1, 0], "value": str(LEAST)}, [W[:2]], np.pad(W[:2], ((0, 1), (1, 0)), constant_values=LEAST))
case("pad", {"low": [0, 1], "high": [1, 0], "value": "-inf"}, [H[:2]], np.pad(H[:2], ((0, 1), (1, 0)), constant_values=-inf))
case("tril", {}, [table], np.where(np.tri(5, dtype=bool), table, 0))
case("triu", {}, [table], np.where(np.tri(5, k=-1, dtype=bool), 0, table))
case("clip", {"low": -2, "high": 2}, [X], np.clip(X, -2, 2))
case("clip", {"low": -2, "high": 2}, [W], np.clip(W, -2, 2))
for p in [-3, -2, -1, 0, 1, 2, 3, 65, -65]:
    case("power", {"p": p}, [X], double(np.power, X, np.float64(p)))
positive = np.abs(X)
for p in [0.5, 1.5, 0.25, -0.5, -1.5, 2.5]:
    case("power", {"p": p}, [positive], double(np.power, positive, p))
for p in [2, 3, 5]:
    case("power", {"p": p}, [W], np.power(W, np.int32(p)))
for p in [-2, -1, 2, 3, 1.5]:
    case("power", {"p": p}, [np.abs(H)], double(np.power, np.abs(H), np.float64(p)))

# gradients of sums weighted by g
G = np.array([1, 2, -1, 3, 0.5])


def gradient(name, attributes, given, weights, *results, of=None):
    """`of` numbers the inputs that are differentiated, all by default."""
    of = list(range(len(given))) if of is None else of
    case(name, {**attributes, "of": of}, [*given, np.asarray(weights, np.float64)], *results)


rows = np.arange(len(X)) + 1.0
D = X.astype(np.float64)
at = {"axis": 1}
gradient("sum", at, [X], rows, np.broadcast_to(rows[:, None], X.shape))
gradient("mean", at, [X], rows, np.broadcast_to(rows[:, None] / 5, X.shape))
V = D[[0, 1, 14]]
gradient("variance", at, [X[[0, 1, 14]]], rows[:3], 2 / 5 * (V - V.mean(1, keepdims=True)) * rows[:3, None])


def shares(x, extreme):
    """Of those that attain it each as much; none where one is not a number."""
    attained = x == extreme
    return np.where(attained, rows[:, None] / np.maximum(attained.sum(1, keepdims=True), 1), 0)


gradient("max", at, [X], rows, shares(D, D.max(1, keepdims=True)))
gradient("min", at, [X], rows, shares(D, D.min(1, keepdims=True)))
others = np.stack([np.delete(D, k, 1).prod(1) for k in range(5)], 1)
zeros = [0, 1, 6, 10]
gradient("prod", at, [X[zeros]], rows[:4], (others[zeros] * rows[:4, None]).astype(np.float32))
many = np.array([[0, 2, 3, 4, 5], [0, 2, 0, 4, 5], [0, 0, 0, 1, 2], [inf, 2, 3, 1, 1], [-1, -2, -3, 4, 0.5]], np.float32)
others = np.stack([np.delete(many, k, 1).prod(1) for k in range(5)], 1)
gradient("prod", at, [many], rows[:5], others * rows[:5, None])
gradient("cumsum", at, [X], np.tile(G, (len(X), 1)), np.broadcast_to(np.cumsum(G[::-1])[::-1], X.shape))
soft = softmax(D, 1)
weights = np.tile(G, (len(X), 1))
gradient("softmax", at, [X], weights, soft * (weights - (soft * weights).sum(1, keepdims=True)))
gradient("logSoftmax", at, [X], weights, weights - soft * weights.sum(1, keepdims=True))
# of a row of -infinity alone none; where one is infinite, it alone has no slope
total = log_sum_exp(D, 1)[:, None]
slopes = np.where(np.isneginf(total), 0, np.where(np.isposinf(total) & (D < inf), 0, soft))
gradient("logSumExp", at, [X], rows, slopes * rows[:, None])
for name, order in [("sort", np.argsort(X, axis=1, kind="stable")), ("sortDescending", by_keys(X, 1))]:
    routed = np.zeros_like(weights)
    np.put_along_axis(routed, order, weights, 1)
    gradient(name, at, [X], weights, routed)
routed = np.zeros_like(weights)
np.put_along_axis(routed, by_keys(X, 1)[:, :2], weights[:, :2], 1)
gradient("topk", {**at, "k": 2}, [X], weights[:, :2], routed)
for name, order in [("sort", np.argsort(np.tile(X[[0, 4, 8]], 30), axis=1, kind="stable"))]:
    g = np.tile(G, (3, 30))
    routed = np.zeros_like(g)
    np.put_along_axis(routed, order, g, 1)
    gradient(name, {**at, "repeats": 30, "ends": 4}, [X[[0, 4, 8]]], weights[:3], ends(routed))
taken = np.zeros((5, 5))
np.add.at(taken, clamped, np.tile(G, (7, 1)))
gradient("gather", {"axis": 0}, [table, indices], np.tile(G, (7, 1)), taken, of=[0])
gradient("scatterAdd", {"size": 5}, [updates, indices], np.stack([G, -G], 1), np.stack([G, -G], 1)[clamped], of=[0])
inside = (labels >= 0) & (labels < 5)
one_hot = np.where(inside[:, None] & (labels[:, None] == np.arange(5)), G[:, None], 0)
gradient("pick", {}, [table, labels], G, one_hot, of=[0])
A64, B64 = A.astype(np.float64), B.astype(np.float64)
weights = np.array([[1, 2, -1, 3]] * 6) + np.arange(6.0)[:, None]
gradient("matmul", {}, [A, B], weights, weights @ B64.T, A64.T @ weights)
gradient("pad", {"low": [1, 0], "high": [0, 2], "value": "nan"}, [table], np.ones((6, 7)), np.ones((5, 5)))
gradient("tril", {}, [table], np.ones((5, 5)), np.tri(5))
# half at a bound, as of a maximum of equals; none at what is no number
inner = np.where(np.abs(D) < 2, 1.0, np.where(np.abs(D) == 2, 0.5, 0))
gradient("clip", {"low": -2, "high": 2}, [X], np.ones_like(D), inner)
for p in [-3, -2, -1, 0, 1, 2, 3, 65]:
    with_slope = np.where(D == 0, np.float64(0), D) if p > 0 else D
    slope = p * with_slope ** np.float64(p - 1) if p != 0 else np.zeros_like(D)
    gradient("power", {"p": p}, [X], np.ones_like(D), slope.astype(np.float32))
for p in [0.5, 1.5, 0.25, -0.5, -1.5, 2.5]:
    gradient("power", {"p": p}, [positive], np.ones_like(D), (p * positive.astype(np.float64) ** (p - 1)).astype(np.float32))
# guarded twice the branch that is not taken has no slope; guarded once it is 0 times infinity, as in PyTorch and JAX
spots = np.array([0, -0.0, 1, 4, -1, inf, nan, TINY], np.float32)
ones = np.ones(8)
positive_only = np.where(spots > 0, spots, 1).astype(np.float64)
gradient("guardedSqrt", {}, [spots], ones, np.where(spots > 0, 0.5 / np.sqrt(positive_only), 0))
gradient("guardedLog", {}, [spots], ones, np.where(spots > 0, 1 / positive_only, 0))
gradient("sqrtBehindWhere", {}, [np.array([0, 1, 4], np.float32)], ones[:3], np.array([nan, 0.5, 0.25]))

# layers: norms in float64, f16 rounded at the end; losses
EPS = 1e-5


def rms_norm(x):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS)


def layer_norm(x):
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt((centered * centered).mean(-1, keepdims=True) + EPS)


def group_norm(x):
    return layer_norm(x.reshape(len(x), -1, 2)).reshape(x.shape)


def rms_norm_gradient(x, g):
    scale = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + EPS)
    return scale * (g - x * scale**2 * (g * x).mean(-1, keepdims=True))


def layer_norm_gradient(x, g):
    y, centered = layer_norm(x), x - x.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centered * centered).mean(-1, keepdims=True) + EPS)
    return scale * (g - g.mean(-1, keepdims=True) - y * (g * y).mean(-1, keepdims=True))


# squares within f32's range
normed = X[[0, 1, 2, 3, 4, 5, 7, 9, 14]]
lone = np.array([[0, 0, 0, 0, 0], [3, 3, 3, 3, 3], [1e18, 1e18, -1e18, 0, 0], [1e-30, 0, 0, 0, 0]], np.float32)
four = np.array([[300, 300, -300, 300], [65504, -65504, 65504, 65504], [1, inf, 2, 3], [1, nan, 2, 3], [0, 0, 1, 1]], np.float16)
for x in [normed, lone, H]:
    case("rmsNorm", {}, [x], double(rms_norm, x))
    case("layerNorm", {}, [x], double(layer_norm, x))
case("groupNorm", {"groups": 2}, [four], double(group_norm, four))
finite = np.concatenate([X[[0, 1, 14]], lone[:3]])
g = np.tile(G, (len(finite), 1))
gradient("rmsNorm", {}, [finite], g, rms_norm_gradient(finite.astype(np.float64), g))
gradient("layerNorm", {}, [finite], g, layer_norm_gradient(finite.astype(np.float64), g))

scores = np.array(
    [[1, 2, 3], [-inf, 0, 0], [-inf, 0, 0], [-inf, -inf, -inf], [inf, 0, 0], [nan, 0, 0], [MAX, 0, -MAX], [1e4, 1e4, 0], [inf, nan, -inf]],
    np.float32,
)
chosen = np.array([2, 0, 1, 1, 1, 1, 0, 2, -100], np.int32)
wide = scores.astype(np.float64)
mask = chosen != -100
at = np.maximum(chosen, 0)[:, None]
total = log_sum_exp(wide, 1)
for smoothing in [0, 0.1]:
    spread = wide.mean(1) * smoothing if smoothing else 0
    losses = np.where(mask, total - ((1 - smoothing) * np.take_along_axis(wide, at, 1)[:, 0] + spread), 0)
    settings = {"ignoreIndex": -100, "labelSmoothing": smoothing}
    case("crossEntropy", settings, [scores, chosen], losses)
    finite = [0, 1, 2, 6, 7, 8]
    one_hot = (chosen[:, None] == np.arange(3)) * (1 - smoothing) + smoothing / 3
    slope = np.where(mask[:, None], softmax(wide, 1) - one_hot, 0)
    gradient("crossEntropy", settings, [scores[finite], chosen[finite]], np.arange(6) + 1.0, (slope * 1.0)[finite] * (np.arange(6) + 1.0)[:, None], of=[0])
halves = np.array([[65504, -65504, 0], [11, 12, 10]], np.float16)
case("crossEntropy", {}, [halves, chosen[[7, 4]]], np.array([65504, np.logaddexp.reduce([-1.0, 0, -2])]))
case("accuracy", {}, [scores, at[:, 0].astype(np.int32), mask], np.float64((wide.argmax(1) == at[:, 0])[mask].mean()))
tokens = np.array([1, 0, 2, 1, 0], np.int32)
vectors = np.array([[inf, nan], [1, -inf], [MAX, -0.0]], np.float32)
case("embedding", {"paddingIndex": 0}, [vectors, tokens], np.where(tokens[:, None] == 0, 0, vectors[tokens]))
g = np.stack([G, 2 * G], 1)
summed = np.zeros((3, 2))
np.add.at(summed, tokens, np.where(tokens[:, None] == 0, 0, g))
gradient("embedding", {"paddingIndex": 0}, [vectors, tokens], g, summed, of=[0])

target = pathlib.Path(__file__).parent.parent / "packages/testing/src/numpy-values.ts"
target.write_text(
    f"""/** What numpy makes of special values. Written by scripts/numpy-values.py with numpy {np.__version__}: change that. */

/** Type, shape and numbers of tensors, one a line. */
export const NUMPY_INPUTS = `
{chr(10).join(inputs)}
`;

/** Operation, settings, numbers of its inputs, and its results, one a line. */
export const NUMPY_VALUES = `
{chr(10).join(json.dumps(c, separators=(",", ":")) for c in cases)}
`;
"""
)
print(len(cases), "cases,", target.stat().st_size, "bytes")
