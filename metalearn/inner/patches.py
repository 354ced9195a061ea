"""Convolutions as slices and one matrix product, for CPUs."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

MAX_SLICES = 32  # along one axis; every slice adds operations to the program
MAX_BYTES = 2**26  # of the stacked windows of one convolution; larger convolutions are summed slice by slice
NAMES = "gbio"  # group, batch, input feature, output feature; axes p0, p1, … of the output, k0, k1, … of the kernel


class SpatialAxis(NamedTuple):
    """One spatial axis of a convolution: out[p] = Σ_k padded[p · stride + k · dilation] · kernel[k].

    Attributes:
      out, kernel: the numbers of positions p and k.
      stride, dilation: the steps of p and k in the padded array.
      padding: the entries added before and after the array; negative to remove entries.
      spread: lhs_dilation, the distance between neighbouring entries in the padded array.
      where: the index of the axis in the array.
    """

    out: int
    kernel: int
    stride: int
    dilation: int
    padding: tuple[int, int]
    spread: int
    where: int

    @property
    def scattered(self) -> bool:
        """Return whether to multiply first and add the products afterwards, which is cheaper for mostly zero input."""
        return self.spread > 1 and self.kernel <= self.out

    @property
    def slices(self) -> int:
        """Return the number of slices along the axis: one for each position of the shorter of kernel and output."""
        return min(self.kernel, self.out)


class Labelled(NamedTuple):
    """An array and the names of its axes."""

    array: jax.Array
    names: tuple[str, ...]


def convolution_axes(lhs: Any, rhs: Any, out: Any, params: dict[str, Any]) -> list[SpatialAxis]:
    """Return the spatial axes of `lax.conv_general_dilated` with these parameters."""
    left, right, result = params["dimension_numbers"]
    steps = zip(params["window_strides"], params["rhs_dilation"], params["padding"], params["lhs_dilation"])
    axes = [
        SpatialAxis(
            out.shape[result[a + 2]], rhs.shape[right[a + 2]], stride, dilation, tuple(padding), spread, left[a + 2]
        )
        for a, (stride, dilation, padding, spread) in enumerate(steps)
    ]
    return axes


def replaceable(lhs: Any, rhs: Any, out: Any, params: dict[str, Any]) -> bool:
    """Return whether `convolve` supports a convolution: no array is empty, none is sharded, and the slices are few."""
    axes = convolution_axes(lhs, rhs, out, params)
    if params["out_sharding"] is not None or 0 in (lhs.size, rhs.size, out.size):
        return False
    return math.prod(axis.slices for axis in axes) <= MAX_SLICES**2 and all(axis.slices <= MAX_SLICES for axis in axes)


def convolve(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute `lax.conv_general_dilated` by slices and `dot_general`.

    With P the windows of the padded input, out[b, o, p] = Σ_{i, k} P[b, i, p, k] · rhs[o, i, k]. Along each axis, the
    array is sliced once for each position of the shorter of kernel and output, and the slices are stacked. A 3 × 3
    kernel on an image, and the gradient of this convolution, whose kernel is as large as the image, build the same P.

    Args:
      lhs, rhs: the input and the kernel.
      **params: all parameters of the primitive.
    """
    left, right, result = params["dimension_numbers"]
    out = jax.eval_shape(functools.partial(lax.conv_general_dilated_p.bind, **params), lhs, rhs)
    axes = convolution_axes(lhs, rhs, out, params)
    places, taps = [f"p{a}" for a in range(len(axes))], [f"k{a}" for a in range(len(axes))]
    image = Labelled(lhs, _ordered(left, ["b", "i", *places]))
    kernel = Labelled(rhs, _ordered(right, ["o", "i", *taps]))
    names = _ordered(result, ["b", "o", *places])
    groups = max(params["feature_group_count"], params["batch_group_count"])
    if groups > 1:
        image = _split(image, "i" if params["feature_group_count"] > 1 else "b", groups)
        kernel = _split(kernel, "o", groups)
        names = tuple(part for name in names for part in (("g", "o") if name == "o" else (name,)))
    product = functools.partial(_product, precision=params["precision"], dtype=_sum_type(out.dtype))
    order = sorted(range(len(axes)), key=lambda a: -axes[a].where)
    depthwise = groups > 1 and rhs.shape[right[0]] == groups
    value = _along(order, axes, image, kernel, names, product, depthwise)
    return value.reshape(out.shape).astype(out.dtype)


def _along(order, axes, image, kernel, names, product, depthwise) -> jax.Array:
    """Compute the convolution along the axes in `order`, as an array with the axes `names`."""
    if not order:
        return product(image, kernel, names)
    index, *rest = order
    axis, place, tap = axes[index], f"p{index}", f"k{index}"
    go_on = functools.partial(_along, rest, axes, product=product, depthwise=depthwise)
    if axis.scattered:
        at = names.index(place)
        value = go_on(image, kernel, (*names[:at], tap, *names[at:]))
        return _scatter(value, at, axis)
    few, many = (tap, place) if axis.kernel <= axis.out else (place, tap)
    image = Labelled(_padded(image, place, axis), image.names)
    parts = _slices(image, place, axis, many)
    if axis.slices == 1:
        return _joined([go_on(parts[0], _taken(kernel, tap, 0, few), _without(names, few, place))], few, place, names)
    if not depthwise and parts[0].array.size * len(parts) * image.array.dtype.itemsize <= MAX_BYTES:
        return go_on(_stacked(parts, few), kernel, names)
    values = [
        go_on(part, _taken(kernel, tap, number, few), _without(names, few, place)) for number, part in enumerate(parts)
    ]
    return _joined(values, few, place, names)


def _padded(image, place, axis):
    configuration = [(0, 0, 0)] * image.array.ndim
    configuration[image.names.index(place)] = (*axis.padding, axis.spread - 1)
    return lax.pad(image.array, jnp.zeros((), image.array.dtype), configuration)


def _slices(image, place, axis, many):
    """Return one slice per position of the shorter of kernel and output; its axis runs over those of the longer."""
    at = image.names.index(place)
    names = tuple(many if name == place else name for name in image.names)
    count, step, shift = (
        (axis.out, axis.stride, axis.dilation) if many == place else (axis.kernel, axis.dilation, axis.stride)
    )
    return [
        Labelled(lax.slice_in_dim(image.array, k * shift, k * shift + (count - 1) * step + 1, step, at), names)
        for k in range(axis.slices)
    ]


def _stacked(parts, few):
    """Stack the slices along a new axis before the last of batch and channels, as the matrix product needs it."""
    names = parts[0].names
    at = max(names.index(name) for name in ("b", "i"))
    return Labelled(jnp.stack([part.array for part in parts], at), (*names[:at], few, *names[at:]))


def _taken(kernel, tap, number, few):
    """Return the kernel at one position if the slices run over its positions, else the whole kernel."""
    if few != tap:
        return kernel
    at = kernel.names.index(tap)
    return Labelled(lax.index_in_dim(kernel.array, number, at, keepdims=False), _without(kernel.names, tap, tap))


def _without(names, few, place):
    return tuple(name for name in names if name != few or few != place)


def _joined(values, few, place, names):
    """Add the values of kernel positions, or stack those of output positions."""
    return jnp.stack(values, names.index(place)) if few == place else functools.reduce(jnp.add, values)


def _scatter(value, at, axis):
    """Sum products over k, the axis `at`, each at its position p · stride = q · spread + padding − k · dilation."""
    total, parts = (axis.out - 1) * axis.stride + 1, []
    for k in range(axis.kernel):
        part = lax.index_in_dim(value, k, at, keepdims=False)
        before = axis.padding[0] - k * axis.dilation
        after = total - before - (part.shape[at] - 1) * axis.spread - 1
        configuration = [(0, 0, 0)] * part.ndim
        configuration[at] = (before, after, axis.spread - 1)
        placed = lax.pad(part, jnp.zeros((), part.dtype), configuration)
        parts.append(lax.slice_in_dim(placed, 0, total, axis.stride, at))
    return functools.reduce(jnp.add, parts)


def _product(image, kernel, names, precision, dtype):
    """Multiply image and kernel, and sum over all axes that are not in `names`."""
    number = {name: index for index, name in enumerate(dict.fromkeys((*image.names, *kernel.names)))}
    numbers = [[number[name] for name in axes] for axes in (image.names, kernel.names, names)]
    return jnp.einsum(
        image.array,
        numbers[0],
        kernel.array,
        numbers[1],
        numbers[2],
        precision=precision,
        preferred_element_type=dtype,
    )


def _sum_type(dtype):
    """Return the dtype in which products are summed: float32 or wider for floating-point numbers."""
    return jnp.promote_types(dtype, jnp.float32) if jnp.issubdtype(dtype, jnp.floating) else dtype


def _ordered(places, names) -> tuple[str, ...]:
    """Return the names in the order of the array's axes."""
    return tuple(name for _, name in sorted(zip(places, names)))


def _split(part, name, groups):
    """Split the axis `name` into a group axis and the rest."""
    at, shape = part.names.index(name), part.array.shape
    return Labelled(
        part.array.reshape(*shape[:at], groups, shape[at] // groups, *shape[at + 1 :]),
        (*part.names[:at], "g", *part.names[at:]),
    )
