"""CuPy's arrays, and its functions of arrays, by NumPy."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

import emulation
from emulation import cuda, memory

SCALARS = (int, float, complex, np.generic)


class Flags(NamedTuple):
    c_contiguous: bool
    f_contiguous: bool
    owndata: bool


class ndarray(NDArrayOperatorsMixin):
    """An array on the device; `_host` is where this emulation keeps it."""

    __slots__ = ("__weakref__", "_host")
    __module__ = "cupy"
    __array_priority__ = 100
    _host: np.ndarray

    def __init__(self, shape: Any, dtype: Any = float, *, order: str = "C") -> None:
        self._host = memory.empty(shape, dtype, order)

    # ------------------------------------------------------------- Attributes

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    data = property(lambda self: memory.MemoryPointer(memory.address(self._host)))
    device = property(lambda self: cuda.Device(0))
    T = property(lambda self: self.transpose())
    real = property(lambda self: wrap(self._host.real))
    imag = property(lambda self: wrap(self._host.imag))

    @property
    def flags(self) -> Flags:
        flags = self._host.flags
        return Flags(flags.c_contiguous, flags.f_contiguous, flags.owndata)

    # ------------------------------------------------------------- To and from the host

    def get(self, stream: Any = None, order: str = "C", out: np.ndarray | None = None, blocking: bool = True) -> Any:
        if out is None:
            out = np.empty(self.shape, self.dtype, "F" if order == "A" and not self.flags.c_contiguous else order)
        elif not isinstance(out, np.ndarray) or out.dtype != self.dtype:
            raise TypeError(f"{getattr(out, 'dtype', type(out))} array cannot be obtained from {self.dtype} array")
        elif out.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        elif not (out.flags.c_contiguous or out.flags.f_contiguous):
            raise RuntimeError("`out` cannot be specified when copying to non-contiguous ndarray")
        _count_to_host(self.nbytes)
        out[...] = self._host
        return out

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        _count_to_device(self.nbytes)
        self._host[...] = arr

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, specification: str) -> str:
        return format(self.get(), specification)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    # ------------------------------------------------------------- What NumPy dispatches

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        function = functions.get(ufunc.__name__)
        if function is None or method != "__call__":
            return NotImplemented
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        return function(*inputs, **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        own = functions.get(function.__name__) if function.__module__ == "numpy" else None
        if own is None or not all(issubclass(kind, ndarray) for kind in types):
            return NotImplemented
        return own(*args, **kwargs)

    # ------------------------------------------------------------- Items

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[Any]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        if any(getattr(part, "dtype", None) == np.bool_ for part in (key if isinstance(key, tuple) else (key,))):
            _count_to_host(8)  # the size of the result
        return wrap(self._host[_index(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._host[_index(key)] = _operand(value)

    # ------------------------------------------------------------- Methods; more are added below

    def fill(self, value: Any) -> None:
        if isinstance(value, ndarray) and value.ndim:
            raise ValueError("non-scalar cupy.ndarray cannot be used for fill")
        self._host[...] = _operand(value)

    def copy(self, order: str = "C") -> "ndarray":
        return _own(memory.copy(self._host, order))

    def __copy__(self) -> "ndarray":
        return self.copy()

    def __deepcopy__(self, memo: Any) -> "ndarray":
        return self.copy()

    def astype(self, dtype: Any, order: str = "K", casting: None = None, subok: None = None, copy: bool = True) -> Any:
        flags = self.flags
        suits = order == "K" or (flags.c_contiguous and order in "CA") or (flags.f_contiguous and order in "FA")
        if not copy and suits and np.dtype(dtype) == self.dtype:
            return self
        return _own(memory.copy(self._host, order, dtype))

    def view(self, dtype: Any = None) -> "ndarray":
        return wrap(self._host.view() if dtype is None else self._host.view(dtype))

    def reshape(self, *shape: Any, order: str = "C") -> "ndarray":
        return wrap(self._host.reshape(*shape, order=order))

    def flatten(self, order: str = "C") -> "ndarray":
        return wrap(self._host.flatten(order))

    def transpose(self, *axes: Any) -> "ndarray":
        return wrap(self._host.transpose(*axes))

    def clip(self, min: Any = None, max: Any = None, out: Any = None) -> "ndarray":
        return functions["clip"](self, min, max, out)


def _own(host: np.ndarray) -> ndarray:
    array = ndarray.__new__(ndarray)
    array._host = host
    return array


def wrap(result: Any) -> Any:
    """What CuPy returns where NumPy returns this: views stay views, and what is computed lies in C's order."""
    if isinstance(result, tuple):
        return tuple(map(wrap, result))
    host = np.asarray(result)
    return _own(host if memory.on_device(host) else memory.copy(host))


def _operand(value: Any) -> Any:
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, SCALARS):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def _index(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(map(_index, key))
    if isinstance(key, ndarray):
        return key._host
    if isinstance(key, np.ndarray | list):  # CuPy takes them, and copies them to the device
        _count_to_device(np.asarray(key).nbytes)
    return key


def _count_to_host(nbytes: int) -> None:
    emulation.transfers.device_to_host += 1
    emulation.transfers.device_to_host_bytes += nbytes


def _count_to_device(nbytes: int) -> None:
    emulation.transfers.host_to_device += 1
    emulation.transfers.host_to_device_bytes += nbytes


# --------------------------------------------------------------------- Functions

functions: dict[str, Callable[..., Any]] = {}

UFUNCS = """
    absolute add arctan2 bitwise_and bitwise_or bitwise_xor ceil cos divide equal exp exp2 expm1 floor floor_divide fmax
    fmin fmod greater greater_equal hypot invert isfinite isinf isnan left_shift less less_equal log log10 log1p log2
    logical_and logical_not logical_or logical_xor matmul maximum minimum multiply negative not_equal positive power
    reciprocal remainder right_shift rint sign signbit sin sqrt square subtract tan tanh true_divide trunc
"""

# As CuPy's. The order of the parameters is NumPy's, too, so that they are passed on by position.
SIGNATURES = """
    all(a, axis=None, out=None, keepdims=False)
    amax(a, axis=None, out=None, keepdims=False)
    amin(a, axis=None, out=None, keepdims=False)
    any(a, axis=None, out=None, keepdims=False)
    argmax(a, axis=None)
    argmin(a, axis=None)
    argsort(a, axis=-1)
    broadcast_to(array, shape)
    clip(a, a_min, a_max, out=None)
    concatenate(tup, axis=0, out=None)
    count_nonzero(a, axis=None)
    cumsum(a, axis=None, dtype=None, out=None)
    diagonal(a, offset=0, axis1=0, axis2=1)
    dot(a, b, out=None)
    einsum(*operands, **kwargs)
    expand_dims(a, axis)
    flip(a, axis=None)
    hstack(tup)
    max(a, axis=None, out=None, keepdims=False)
    mean(a, axis=None, dtype=None, out=None, keepdims=False)
    min(a, axis=None, out=None, keepdims=False)
    moveaxis(a, source, destination)
    nonzero(a)
    outer(a, b, out=None)
    pad(array, pad_width, mode="constant", **kwargs)
    prod(a, axis=None, dtype=None, out=None, keepdims=False)
    ravel(a, order="C")
    repeat(a, repeats, axis=None)
    reshape(a, newshape, order="C")
    roll(a, shift, axis=None)
    sort(a, axis=-1)
    squeeze(a, axis=None)
    stack(tup, axis=0, out=None)
    std(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False)
    sum(a, axis=None, dtype=None, out=None, keepdims=False)
    swapaxes(a, axis1, axis2)
    take(a, indices, axis=None, out=None)
    tensordot(a, b, axes=2)
    trace(a, offset=0, axis1=0, axis2=1, dtype=None, out=None)
    transpose(a, axes=None)
    var(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False)
    vdot(a, b)
    vstack(tup)
    where(condition, x=None, y=None)
"""

# Of those, the methods of the same signature.
METHODS = (
    "all any argmax argmin cumsum diagonal dot max mean min nonzero prod ravel repeat squeeze std sum swapaxes take "
    "trace var"
)


def _ufunc(name: str) -> Callable[..., Any]:
    function = getattr(np, name)

    def call(*operands: Any, out: ndarray | None = None, dtype: Any = None, casting: str = "same_kind") -> Any:
        if out is not None and not isinstance(out, ndarray):
            raise TypeError("return arrays must be of ArrayType")
        arguments = {} if out is None else {"out": out._host}
        with np.errstate(all="ignore"):
            result = function(*map(_operand, operands), dtype=dtype, casting=casting, **arguments)
        return wrap(result) if out is None else out

    return call


def _function(name: str, signature: inspect.Signature) -> Callable[..., Any]:
    function = getattr(np, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        arrays: list[ndarray] = []

        def unwrap(value: Any) -> Any:
            if isinstance(value, ndarray):
                arrays.append(value)
                return value._host
            if isinstance(value, np.ndarray):
                raise TypeError(f"Unsupported type {type(value)}")
            return type(value)(map(unwrap, value)) if isinstance(value, list | tuple) else value

        args, kwargs = unwrap(bound.args), {key: unwrap(value) for key, value in bound.kwargs.items()}
        if not arrays:
            raise TypeError(f"cupy.{name} needs a cupy.ndarray")
        if name == "nonzero" or (name == "where" and len(args) == 1):
            _count_to_host(8)  # the size of the result
        with np.errstate(all="ignore"):
            result = function(*args, **kwargs)
        out = bound.arguments.get("out")
        return wrap(result) if out is None else out

    return call


for _name in UFUNCS.split():
    functions[_name] = _ufunc(_name)
for _line in SIGNATURES.split("\n"):
    if _line.strip():
        _name, _, _parameters = _line.strip().partition("(")
        functions[_name] = _function(_name, inspect.signature(eval(f"lambda {_parameters[:-1]}: None")))
for _name in METHODS.split():
    setattr(ndarray, _name, functions[_name])
functions |= {"abs": functions["absolute"], "mod": functions["remainder"]}


# --------------------------------------------------------------------- Creation and conversion


def _listed(function: Callable[..., Any]) -> Callable[..., Any]:
    functions[function.__name__] = function
    return function


@_listed
def array(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K", *, blocking: bool = False) -> ndarray:
    if isinstance(obj, ndarray):
        return obj.astype(obj.dtype if dtype is None else dtype, order, copy=copy)
    if isinstance(obj, list | tuple) and any(isinstance(part, ndarray) for part in obj):
        return array(functions["stack"](obj), dtype, False, order)
    host = np.asarray(obj, dtype)
    _count_to_device(host.nbytes)
    return _own(memory.copy(host, order))


@_listed
def asarray(a: Any, dtype: Any = None, order: str | None = None, *, blocking: bool = False) -> ndarray:
    return array(a, dtype, False, order or "K")


@_listed
def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    return array(a, dtype, False, "C")


@_listed
def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> np.ndarray:
    return a.get(stream, order, out) if isinstance(a, ndarray) else np.asarray(a, order=order)


@_listed
def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    return wrap(np.arange(start, stop, step, dtype))


@_listed
def copyto(dst: ndarray, src: Any) -> None:
    np.copyto(dst._host, _operand(src))


@_listed
def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


@_listed
def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    result = ndarray(shape, np.asarray(_operand(fill_value)).dtype if dtype is None else dtype, order=order)
    result.fill(fill_value)
    return result


@_listed
def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 0, dtype, order)


@_listed
def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 1, dtype, order)


@_listed
def empty_like(prototype: ndarray, dtype: Any = None, order: str = "K") -> ndarray:
    return _own(memory.empty_like(prototype._host, prototype.dtype if dtype is None else dtype, order))


@_listed
def full_like(a: ndarray, fill_value: Any, dtype: Any = None, order: str = "K") -> ndarray:
    result = empty_like(a, dtype, order)
    result.fill(fill_value)
    return result


@_listed
def zeros_like(a: ndarray, dtype: Any = None, order: str = "K") -> ndarray:
    return full_like(a, 0, dtype, order)


@_listed
def ones_like(a: ndarray, dtype: Any = None, order: str = "K") -> ndarray:
    return full_like(a, 1, dtype, order)
