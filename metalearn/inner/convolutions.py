"""Draft."""
import math
import functools
import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

MODE = "separable"
CHECKPOINT = True
LOOPS = {"scan", "while", "cond", "jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint"}


def prepare(problem):
    return problem._replace(**{name: without_convolutions(f) for name, f in problem._asdict().items()})


def without_convolutions(function):
    def wrapped(*args):
        program, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        if not _holds(program.jaxpr):
            return function(*args)
        rewritten = _rewrite(program)
        out = core.jaxpr_as_fun(rewritten)(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), out)
    return wrapped


def _holds(program):
    return any(e.primitive.name == "conv_general_dilated" or any(map(_holds, _inner(e))) for e in program.eqns)


def _inner(e):
    return core.jaxprs_in_params(e.params) if e.primitive.name in LOOPS else ()


def _rewrite(program):
    if isinstance(program, core.ClosedJaxpr):
        return program.replace(jaxpr=_rewrite(program.jaxpr))
    return program.replace(eqns=[_equation(e) for e in program.eqns])


def _equation(e):
    if e.primitive.name == "conv_general_dilated":
        f = functools.partial(convolve, **e.params)
        if CHECKPOINT: f = jax.checkpoint(f, prevent_cse=False)
        made = jax.make_jaxpr(jax.jit(f))(*[jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in e.invars]).jaxpr.eqns[0]
        return made.replace(invars=e.invars, outvars=e.outvars)
    if not any(map(_holds, _inner(e))):
        return e
    def value(x):
        if isinstance(x, (core.Jaxpr, core.ClosedJaxpr)): return _rewrite(x)
        if isinstance(x, (tuple, list)): return type(x)(map(value, x)) if type(x) in (tuple, list) else x
        return x
    return e.replace(params={k: value(v) for k, v in e.params.items()})


def convolve(lhs, rhs, *, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, batch_group_count, precision, preferred_element_type, out_sharding):
    ls, rs, os_ = dimension_numbers
    n = len(window_strides)
    P = [f"p{a}" for a in range(n)]; K = [f"k{a}" for a in range(n)]
    labels = _named(ls, ["b", "i", *P])
    kernel = _named(rs, ["o", "i", *K])
    out = _named(os_, ["b", "o", *P])
    groups = max(feature_group_count, batch_group_count)
    config = [(0, 0, 0)] * lhs.ndim
    for a in range(n): config[ls[2 + a]] = (*padding[a], lhs_dilation[a] - 1)
    x = lax.pad(lhs, jnp.zeros((), lhs.dtype), config)
    channel = labels[max(ls[0], ls[1])]
    sizes = {}
    order = sorted(range(n), key=lambda a: -ls[2 + a])
    for a in order:
        axis = labels.index(f"p{a}")
        k = rhs.shape[rs[2 + a]]
        span = (k - 1) * rhs_dilation[a] + 1
        p = max(0, (x.shape[axis] - span) // window_strides[a] + 1)
        s, d = window_strides[a], rhs_dilation[a]
        few, many, fs, ms, fl, ml_ = (k, p, d, s, f"k{a}", f"p{a}") if k <= p else (p, k, s, d, f"p{a}", f"k{a}")
        place = labels.index(channel)
        labels[axis] = ml_
        if MODE == "gather":
            import numpy as np
            idx = np.arange(many)[:, None] * ms + np.arange(few)[None] * fs
            x = jnp.take(x, idx.reshape(-1), axis=axis, mode="clip").reshape(*x.shape[:axis], many, few, *x.shape[axis+1:])
            x = jnp.moveaxis(x, axis + 1, place)
        else:
            parts = [lax.slice_in_dim(x, j * fs, j * fs + (many - 1) * ms + 1, ms, axis) for j in range(few)]
            x = jnp.stack(parts, place)
        labels.insert(place, fl)
    w = rhs
    if groups > 1:
        x, labels = _split(x, labels, "i" if feature_group_count > 1 else "b", groups)
        w, kernel = _split(w, kernel, "o", groups)
        at = out.index("o"); out = [*out[:at], "g", *out[at:]]
    names = {name: i for i, name in enumerate(["g", "b", "i", "o", *P, *K])}
    y = jnp.einsum(x, [names[l] for l in labels], w, [names[l] for l in kernel], [names[l] for l in out], precision=precision, preferred_element_type=preferred_element_type)
    if groups > 1:
        at = out.index("g"); y = y.reshape(*y.shape[:at], -1, *y.shape[at + 2:])
    return y


def _named(spec, names):
    out = [None] * len(spec)
    for axis, name in zip(spec, names): out[axis] = name
    return out


def _split(x, labels, name, groups):
    at = labels.index(name)
    return x.reshape(*x.shape[:at], groups, -1, *x.shape[at + 1:]), [*labels[:at], "g", *labels[at:]]
