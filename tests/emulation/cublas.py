"""`cupy.cuda.cublas`: products of matrices in column-major order, by NumPy.

Only the names that CuPy has: CUBLAS_PEDANTIC_MATH and CUBLAS_TF32_TENSOR_OP_MATH are not among them, and the modes are
numbers to `setMathMode` there.
"""

import operator
from typing import Any, NamedTuple

import numpy as np

import emulation
from emulation import memory

CUBLAS_OP_N, CUBLAS_OP_T, CUBLAS_OP_C = 0, 1, 2
CUBLAS_POINTER_MODE_HOST, CUBLAS_POINTER_MODE_DEVICE = 0, 1
CUBLAS_DEFAULT_MATH, CUBLAS_TENSOR_OP_MATH = 0, 1
CUBLAS_GEMM_DEFAULT, CUBLAS_GEMM_DEFAULT_TENSOR_OP = -1, 99
CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_PEDANTIC, CUBLAS_COMPUTE_32F_FAST_TF32 = 68, 69, 77
CUBLAS_COMPUTE_64F, CUBLAS_COMPUTE_64F_PEDANTIC = 70, 71

_TYPES = {0: np.float32, 1: np.float64, 2: np.float16}  # cudaDataType
_COMPUTE = {68: np.float32, 69: np.float32, 77: np.float32, 70: np.float64, 71: np.float64}
_state: dict[str, int] = {}


def reset() -> None:
    _state.update(stream=0, math=CUBLAS_DEFAULT_MATH, pointers=CUBLAS_POINTER_MODE_HOST)


reset()


class CUBLASError(RuntimeError):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__({1: "CUBLAS_STATUS_NOT_INITIALIZED", 7: "CUBLAS_STATUS_INVALID_VALUE"}[status])


def _check(handle: int, valid: bool = True) -> None:
    if handle != 1:
        raise CUBLASError(1)
    if not valid:
        raise CUBLASError(7)


def setStream(handle: int, stream: int) -> None:
    _check(handle)
    _state["stream"] = operator.index(stream)


def getStream(handle: int) -> int:
    _check(handle)
    return _state["stream"]


def setMathMode(handle: int, mode: int) -> None:
    _check(handle, mode & ~16 in (0, 1, 2, 3))
    _state["math"] = mode


def getMathMode(handle: int) -> int:
    _check(handle)
    return _state["math"]


def setPointerMode(handle: int, mode: int) -> None:
    _check(handle, mode in (0, 1))
    _state["pointers"] = mode


def getPointerMode(handle: int) -> int:
    _check(handle)
    return _state["pointers"]


class _Matrix(NamedTuple):
    """One of `count` matrices, `stride` elements apart."""

    address: int
    ld: int
    dtype: Any = np.float32
    stride: int = 0

    def view(self, count: int, rows: int, columns: int) -> np.ndarray:
        if self.ld < max(1, rows):
            raise CUBLASError(7)
        shape, strides = (count, rows, columns), (self.stride, 1, self.ld)
        if 0 in shape:
            return np.zeros(shape, self.dtype)
        size = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
        flat = memory.at(self.address, size, self.dtype)
        memory.check_bounds(self.address, flat.nbytes)
        return np.lib.stride_tricks.as_strided(flat, shape, [stride * flat.itemsize for stride in strides])

    def operand(self, count: int, rows: int, columns: int, op: int, compute: Any) -> np.ndarray:
        if op == CUBLAS_OP_N:
            return self.view(count, rows, columns).astype(compute)
        return self.view(count, columns, rows).swapaxes(1, 2).astype(compute)


def _factor(address: int, dtype: Any) -> Any:
    if memory.is_device(address) != (_state["pointers"] == CUBLAS_POINTER_MODE_DEVICE):
        raise RuntimeError("cuBLAS: alpha or beta is not where the pointer mode says")
    return memory.at(address, 1, dtype)[0]


def _gemm(
    handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: _Matrix, B: _Matrix, beta: int,
    C: _Matrix, name: str, compute: Any = np.float32, count: int = 1,
) -> None:  # fmt: skip
    _check(handle, min(m, n, k, count) >= 0 and {transa, transb} <= {CUBLAS_OP_N, CUBLAS_OP_T, CUBLAS_OP_C})
    a = A.operand(count, m, k, transa, compute)
    b = B.operand(count, k, n, transb, compute)
    c = C.view(count, m, n)
    alpha, beta = _factor(alpha, compute), _factor(beta, compute)
    with np.errstate(all="ignore"):
        product = alpha * (a @ b) if alpha else np.zeros(c.shape, compute)
        c[...] = product + beta * c if beta else product
    emulation.launches[name] += 1


def sgemm(
    handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, lda: int, B: int, ldb: int,
    beta: int, C: int, ldc: int,
) -> None:  # fmt: skip
    a, b, c = _Matrix(A, lda), _Matrix(B, ldb), _Matrix(C, ldc)
    _gemm(handle, transa, transb, m, n, k, alpha, a, b, beta, c, "sgemm")


def sgemmStridedBatched(
    handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, lda: int, strideA: int, B: int,
    ldb: int, strideB: int, beta: int, C: int, ldc: int, strideC: int, batchCount: int,
) -> None:  # fmt: skip
    a, b, c = _Matrix(A, lda, stride=strideA), _Matrix(B, ldb, stride=strideB), _Matrix(C, ldc, stride=strideC)
    _gemm(handle, transa, transb, m, n, k, alpha, a, b, beta, c, "sgemmStridedBatched", count=batchCount)


def gemmEx(
    handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, Atype: int, lda: int, B: int,
    Btype: int, ldb: int, beta: int, C: int, Ctype: int, ldc: int, computeType: int, algo: int,
) -> None:  # fmt: skip
    a, b, c = _Matrix(A, lda, _TYPES[Atype]), _Matrix(B, ldb, _TYPES[Btype]), _Matrix(C, ldc, _TYPES[Ctype])
    _gemm(handle, transa, transb, m, n, k, alpha, a, b, beta, c, "gemmEx", _COMPUTE[computeType])
