"""The emulation of CUDA and of CuPy that the tests of the GPU code run on."""

import platform

import emulation
import numpy as np
import pytest

if emulation.unavailable():
    pytest.skip(emulation.unavailable(), allow_module_level=True)

ORDERS = ["ascending", "descending", "shuffled", "warps"]

SOURCE = r"""
extern "C" __global__ void __launch_bounds__(BLOCK) total(const float *__restrict__ x, float *out, const int n) {
    __shared__ float sums[BLOCK];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    sums[threadIdx.x] = i < n ? x[i] : 0.f;
    __syncthreads();
#pragma unroll
    for (int step = BLOCK / 2; step > 0; step /= 2) {
        if (threadIdx.x < step) sums[threadIdx.x] += sums[threadIdx.x + step];
        __syncthreads();
    }
    if (threadIdx.x == 0) atomicAdd(out, sums[0]);
}

extern "C" __global__ void reversed_without_barrier(int *out) {
    __shared__ int values[256];
    values[threadIdx.x] = threadIdx.x + 1000 * blockIdx.x;
    out[blockIdx.x * 256 + threadIdx.x] = values[255 - threadIdx.x];
}

extern "C" __global__ void indices(int *out) {
    const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const int threads = blockDim.x * blockDim.y * blockDim.z;
    out[block * threads + thread] = 10000 * block + thread;
}

__device__ __forceinline__ unsigned lanes() {  // that exist in the caller's warp
    const unsigned left = blockDim.x - threadIdx.x / warpSize * warpSize;
    return left < 32 ? (1u << left) - 1 : 0xffffffffu;
}

extern "C" __global__ void warp(const int *x, int *out) {
    const int i = threadIdx.x, n = blockDim.x;
    const unsigned mask = lanes();
    out[i] = __shfl_sync(mask, x[i], 3);
    out[n + i] = __shfl_up_sync(mask, x[i], 2);
    out[2 * n + i] = __shfl_down_sync(mask, x[i], 1, 4);
    out[3 * n + i] = __shfl_xor_sync(mask, x[i], 1);
    out[4 * n + i] = __ballot_sync(mask, x[i] > 50);
    out[5 * n + i] = __match_any_sync(mask, x[i] % 3);
    out[6 * n + i] = __any_sync(mask, x[i] == 7) + 2 * __all_sync(mask, x[i] >= 0);
    __syncwarp(mask);
}

extern "C" __global__ void halves(const double *x, double *out) {  // the halves of a warp go different ways
    double sum = x[threadIdx.x];
    if (threadIdx.x < 16) {
        for (int i = 8; i; i /= 2) sum += __shfl_xor_sync(0x0000ffffu, sum, i);
    } else {
        sum *= 2;
        for (int i = 1; i < 16; i *= 2) sum += __shfl_xor_sync(0xffff0000u, sum, i);
    }
    out[threadIdx.x] = sum;
}

extern "C" __global__ void atomics(int *i, unsigned *u, unsigned long long *l, float *f, double *d) {
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    atomicAdd(i, 1);
    atomicMax(i + 1, t);
    atomicMin(i + 2, -t);
    atomicAdd(u, 2u);
    atomicAdd(l, 1ull << 33);
    atomicAdd(f, 0.5f);
    atomicAdd(d, 0.25);
    for (unsigned old = u[1], seen; (seen = atomicCAS(u + 1, old, old ^ (1u << t % 32))) != old; old = seen) {}
    while (atomicCAS(u + 2, 0u, 1u)) {}  // a lock
    u[3] += 1;
    atomicExch(u + 2, 0u);
}

extern "C" __global__ void diverged(int) {
    if (threadIdx.x < 40) __syncthreads();
}

extern "C" __global__ void diverged_warp(int kind) {
    if (kind == 0 && threadIdx.x == 5) return;
    if (kind == 1 && threadIdx.x == 5) __syncthreads();
    if (kind == 2 && threadIdx.x == 5) __any_sync(0xffffffffu, 1);
    if (kind == 8 && threadIdx.x < 5) __ballot_sync(0x1fu, 1);  // first among some, which is allowed
    if (kind == 9 && threadIdx.x == 5) __ballot_sync(0x20u, 1);
    __ballot_sync(kind == 3 ? 0xffff0000u : 0xffffffffu, 1);
}

extern "C" __global__ void forever(unsigned *lock) { while (atomicCAS(lock, 0u, 1u)) {} }
extern "C" __global__ void asserts(int n) { assert(n > int(threadIdx.x)); }
extern "C" __global__ void deep(int *out) {
    volatile int local[20000];
    for (int i = 0; i < 20000; ++i) local[i] = i;
    out[0] = local[out[0]];
}

extern "C" __global__ void write(float *x, long long i) { x[i] = 0; }

extern "C" __global__ void arguments(
    const float *f, double *d, unsigned char *u8, bool *b, unsigned int *u32, long long *i64,  // several lines
    unsigned long long *u64, const float4 *f4, int i, float x, double y, bool flag, unsigned long long *null
) {
    d[0] = f[0] + i + x + y + flag;
    u8[0] += 1; b[0] = !b[0]; u32[0] += 1; i64[0] -= 1; u64[0] += f4[0].w;
    d[1] = null == nullptr;
}

extern "C" __global__ void dynamic(float *out, int n) {
    extern __shared__ float values[];
    for (int i = threadIdx.x; i < n; i += blockDim.x) values[i] = i;
    __syncthreads();
    out[threadIdx.x] = values[n - 1 - threadIdx.x];
}

template <int N> __global__ void store(int *out) { out[threadIdx.x] = N; }

__constant__ float table[3] = {1, 2, 3};
__device__ int calls;

extern "C" __global__ void arithmetic(float *out) {
    const float x = out[0];
    const unsigned bits = __float_as_uint(x);
    int i = 0;
    out[++i] = __uint_as_float(bits) + __int_as_float(__float_as_int(x));
    out[++i] = max(2, 3u) + min(1.5f, 2.0) + max(size_t(4), size_t(3)) + min(-1, 1);
    out[++i] = __popc(bits) + __ffs(8) + __clz(1) + __clz(0) + __popcll(~0ull);
    const float nan = __int_as_float(0x7fc00000), infinity = __int_as_float(0x7f800000);
    out[++i] = fmaf(x, 2, 1) + fminf(x, nan) + fmaxf(nan, x) + max(nan, x) + rsqrtf(4) + fabsf(-1);
    out[++i] = isnan(nan) + 2 * isinf(infinity) + 4 * isfinite(x) + 8 * isnan(1.0);
    out[++i] = __fadd_rn(__fmul_rn(x, x), 1) + float(__dadd_rn(__dmul_rn(2, 2), 1));
    float4 v = make_float4(1, 2, 3, 4);
    uint2 u = make_uint2(5, 6);
    out[++i] = v.x + v.w + u.y + __ldg(table + 2);
    calls += 1;
    out[++i] = calls;
    dim3 d(2);
    out[++i] = d.x + d.y + d.z + abs(-2) + abs(-0.5f);
}
"""


@pytest.fixture
def cupy(monkeypatch):
    return emulation.install(monkeypatch)


@pytest.fixture
def kernel(cupy):
    instance = "store<7>"
    module = cupy.RawModule(
        code=SOURCE, options=("-std=c++17", "-DBLOCK=256", "--use_fast_math"), name_expressions=(instance,)
    )
    return module.get_function


@pytest.fixture(params=ORDERS)
def order(request, monkeypatch, cupy):
    monkeypatch.setattr(emulation, "order", request.param)
    return request.param


# --------------------------------------------------------------------- The execution model


def test_block_reduction(cupy, kernel, order):
    n = 250_000
    x = np.random.default_rng(0).integers(0, 8, n).astype(np.float32)
    out = cupy.zeros(1, np.float32)
    kernel("total")((1000,), (256,), (cupy.asarray(x), out, np.int32(n)))
    assert float(out[0]) == x.sum()
    assert emulation.launches == {"total": 1}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="has no ucontext")
def test_without_assembly(cupy, order):
    module = cupy.RawModule(code=SOURCE, options=("-DBLOCK=64", "-DEMULATION_UCONTEXT"))
    out = cupy.zeros(1, np.float32)
    module.get_function("total")((3,), (64,), (cupy.ones(150, np.float32), out, np.int32(150)))
    assert float(out[0]) == 150


def test_missing_barrier(cupy, kernel, monkeypatch):
    found = []
    for order in ORDERS:
        monkeypatch.setattr(emulation, "order", order)
        out = cupy.empty((3, 256), np.int32)
        kernel("reversed_without_barrier")((3,), (256,), (out,))
        found.append(out.get())
    assert (found[0] != found[1]).any()
    assert (found[0] != found[2]).any()


def test_shuffled_by_the_seed(cupy, kernel, monkeypatch):
    monkeypatch.setattr(emulation, "order", "shuffled")
    found = []
    for seed in (1, 2, 1):
        monkeypatch.setattr(emulation, "seed", seed)
        out = cupy.zeros((3, 256), np.int32)
        kernel("reversed_without_barrier")((3,), (256,), (out,))
        found.append(out.get())
    assert (found[0] != found[1]).any()


def test_indices(cupy, kernel, order):
    out = cupy.empty((2 * 3 * 5, 4 * 6 * 2), np.int32)
    kernel("indices")((2, 3, 5), (4, 6, 2), (out,))
    np.testing.assert_array_equal(out.get(), 10000 * np.arange(30)[:, None] + np.arange(48))


@pytest.mark.parametrize("threads", [64, 42])
def test_warp_functions(cupy, kernel, order, threads):
    x = np.random.default_rng(threads).integers(0, 100, threads).astype(np.int32)
    out = cupy.empty((7, threads), np.int32)
    kernel("warp")((1,), (threads,), (cupy.asarray(x), out))
    found = out.get()
    for first in range(0, threads, 32):
        values = x[first : first + 32]
        part, n, lane = found[:, first : first + 32], len(values), np.arange(len(values))
        np.testing.assert_array_equal(part[0], values[3])
        np.testing.assert_array_equal(part[1], values[np.where(lane < 2, lane, lane - 2)])
        down = np.where(lane % 4 == 3, lane, lane + 1)
        read = np.append(values, -1)[np.minimum(down, n)]  # of a lane that does not exist: all bits are set
        np.testing.assert_array_equal(part[2], read)
        np.testing.assert_array_equal(part[3], values[lane ^ 1])
        np.testing.assert_array_equal(part[4].view(np.uint32), np.sum((values > 50) * 2**lane))
        matches = ((values[:, None] % 3 == values % 3) * 2**lane).sum(1)
        np.testing.assert_array_equal(part[5].view(np.uint32), matches)
        np.testing.assert_array_equal(part[6], (7 in values) + 2)


def test_warp_divergence(cupy, kernel, order):
    x = np.random.default_rng(0).normal(size=32)
    out = cupy.empty(32)
    kernel("halves")((1,), (32,), (cupy.asarray(x), out))
    np.testing.assert_allclose(out.get(), np.repeat([x[:16].sum(), 2 * x[16:].sum()], 16))


def test_atomics(cupy, kernel, order):
    i, u, wide = cupy.zeros(3, np.int32), cupy.zeros(4, np.uint32), cupy.zeros(1, np.uint64)
    f, d = cupy.zeros(1, np.float32), cupy.zeros(1)
    kernel("atomics")((3,), (96,), (i, u, wide, f, d))
    assert i.tolist() == [288, 287, -287]
    assert u.tolist() == [576, 0xFFFFFFFF, 0, 288]
    assert (wide.item(), f.item(), d.item()) == (288 << 33, 144, 72)


def test_arithmetic(cupy, kernel):
    out = cupy.full(10, 3, np.float32)
    kernel("arithmetic")((1,), (1,), (out,))
    bits = bin(np.float32(3).view(np.uint32)).count("1")
    expected = [3, 6, 3 + 1.5 + 4 - 1, bits + 4 + 31 + 32 + 64, 7 + 3 + 3 + 3 + 0.5 + 1, 7, 10 + 5, 1 + 4 + 6 + 3]
    np.testing.assert_array_equal(out.get()[:8], expected)
    assert out.get()[9] == 2 + 1 + 1 + 2 + 0.5
    kernel("arithmetic")((1,), (1,), (out,))
    assert out.get()[8] == 2  # a global variable lives on


# --------------------------------------------------------------------- Errors in kernels


def test_divergent_barrier(kernel, order):
    with pytest.raises(RuntimeError, match=r"kernel diverged: .* waits at __syncthreads for .* has returned"):
        kernel("diverged")((1,), (64,), (np.int32(0),))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (0, r"waits at __ballot_sync for thread \(5, 0, 0\), which has returned"),
        (1, r"waits at __ballot_sync for thread \(5, 0, 0\), which is at __syncthreads"),
        (2, "__(any|ballot)_sync: a lane of its mask is at another"),
        (3, "__ballot_sync: its mask lacks the calling lane"),
    ],
)
def test_divergent_warp(kernel, order, kind, message):
    with pytest.raises(RuntimeError, match=message):
        kernel("diverged_warp")((1,), (32,), (np.int32(kind),))


@pytest.mark.parametrize("kind", [8, 9])
def test_some_lanes_apart(kernel, order, kind):
    kernel("diverged_warp")((1,), (32,), (np.int32(kind),))


def test_lanes_that_do_not_exist(kernel):
    with pytest.raises(RuntimeError, match="names lanes that do not exist"):
        kernel("diverged_warp")((1,), (31,), (np.int32(9),))


def test_assert(kernel):
    kernel("asserts")((1,), (32,), (np.int32(32),))
    with pytest.raises(RuntimeError, match=r"thread \(31, 0, 0\) of block \(0, 0, 0\): assertion failed: n > int"):
        kernel("asserts")((1,), (32,), (np.int32(31),))


def test_lock_that_is_never_released(cupy, kernel):
    with pytest.raises(RuntimeError, match="fails forever"):
        kernel("forever")((1,), (1,), (cupy.ones(1, np.uint32),))


def test_stack_overflow(cupy, kernel):
    with pytest.raises(RuntimeError, match="local memory"):
        kernel("deep")((1,), (2,), (cupy.zeros(1, np.int32),))


@pytest.mark.parametrize(("index", "byte"), [(-1, -1), (10, 40), (1000, 4000)])
def test_out_of_bounds(cupy, kernel, index, byte):
    x = cupy.empty((2, 5), np.float32)
    with pytest.raises(RuntimeError, match=f"kernel write: wrote out of bounds, at byte {byte} of an array of 40"):
        kernel("write")((1,), (1,), (x, np.int64(index)))
    kernel("write")((1,), (1,), (x, np.int64(9)))  # what was found once is not found again
    assert x[1, 4].item() == 0
    assert np.isnan(x.get()).sum() == 9


def test_dynamic_shared_memory(cupy, kernel, order):
    out = cupy.empty(32, np.float32)
    kernel("dynamic")((2,), (32,), (out, np.int32(100)), shared_mem=400)
    np.testing.assert_array_equal(out.get(), np.arange(99, 67, -1))
    with pytest.raises(RuntimeError, match="beyond its 396 bytes"):
        kernel("dynamic")((2,), (32,), (out, np.int32(100)), shared_mem=396)
    with pytest.raises(ValueError, match="dynamic shared memory"):
        kernel("dynamic")((2,), (32,), (out, np.int32(100)), shared_mem=48 * 1024 + 4)
    large = kernel("dynamic")
    large.max_dynamic_shared_size_bytes = 64 * 1024
    large((2,), (32,), (out, np.int32(100)), shared_mem=48 * 1024 + 4)


# --------------------------------------------------------------------- Launches


def test_arguments(cupy, kernel):
    def given(**changes):
        arguments = {
            "f": cupy.full(1, 2, np.float32),
            "d": cupy.zeros(2),
            "u8": cupy.ones(3, np.uint8)[1:],
            "b": cupy.zeros(1, np.uint8),
            "u32": cupy.zeros(1, np.uint32),
            "i64": cupy.zeros(1, np.int64),
            "u64": cupy.zeros(1, np.uint64),
            "f4": cupy.full(4, 5, np.float32),
            "i": np.int32(3),
            "x": np.float32(4),
            "y": 5.0,
            "flag": np.bool_(True),
            "null": np.intp(0),
        }
        assert not changes.keys() - arguments.keys()
        return arguments | changes

    arguments = given()
    run = kernel("arguments")
    run((1,), (1,), tuple(arguments.values()))
    found = [arguments[name].tolist() for name in ("d", "u8", "b", "u32", "i64", "u64")]
    assert found == [[15, 1], [2, 1], [1], [1], [-1], [5]]
    run((1,), (1,), tuple(given(b=cupy.zeros(1, np.bool_), null=cupy.zeros(1, np.uint64).data).values()))

    wrong = {
        "f": [cupy.zeros(1), np.zeros(1, np.float32), None, 1.0, np.float32(1), np.int32(0), [1.0]],
        "d": [cupy.zeros(2, np.float32), 4096],
        "u8": [cupy.zeros(1, np.int8)],
        "u32": [cupy.zeros(1, np.int32)],
        "f4": [cupy.zeros((4, 2), np.float32)[:, 0], cupy.zeros((2, 4), np.float32).T],
        "i": [3, np.int64(3), np.uint32(3), np.float32(3), cupy.zeros(1, np.int32), True],
        "x": [4.0, np.float64(4), 4, np.int32(4)],
        "y": [np.float32(5), 5],
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises((TypeError, ValueError, RuntimeError)):
                run((1,), (1,), tuple(given(**{name: value}).values()))
    with pytest.raises(TypeError, match="takes 13 arguments, not 1"):
        run((1,), (1,), (arguments["f"],))
    assert emulation.launches["arguments"] == 2


@pytest.mark.parametrize(
    ("grid", "block"),
    [
        ((0,), (1,)),
        ((1, 65536), (1,)),
        ((1, 1, 65536), (1,)),
        ((1,), (0,)),
        ((1,), (1025,)),
        ((1,), (32, 33)),
        ((1,), (1, 1, 65)),
        ((1, 1, 1, 1), (1,)),
        (1, (1,)),
        ((1.0,), (1,)),
    ],
)
def test_launch_limits(kernel, grid, block):
    with pytest.raises((TypeError, ValueError), match=r"bad|tuple|at most|integer"):
        kernel("asserts")(grid, block, (np.int32(2000),))


def test_launch_bounds(cupy, kernel):
    with pytest.raises(ValueError, match="at most 256"):
        kernel("total")((1,), (512,), (cupy.zeros(1, np.float32), cupy.zeros(1, np.float32), np.int32(1)))


def test_modules(cupy, kernel):
    out = cupy.empty(4, np.int32)
    kernel("store<7>")((1,), (4,), (out,))
    assert out.tolist() == [7] * 4
    with pytest.raises(RuntimeError, match="not found: absent"):
        kernel("absent")
    with pytest.raises(cupy.cuda.compiler.CompileException, match="undeclared"):
        cupy.RawModule(code='extern "C" __global__ void f() { undeclared; }').get_function("f")
    for statement in ("atomicAdd(x, 1)", "*x = max(*x, 1)", "*x = min(1.f, 2)"):
        with pytest.raises(cupy.cuda.compiler.CompileException, match="no such overload in CUDA"):
            cupy.RawModule(code=f'extern "C" __global__ void f(long long *x) {{ {statement}; }}').compile()


# --------------------------------------------------------------------- Arrays


def test_import(cupy):
    import cupy as imported
    from cupy.cuda import cublas, runtime

    assert imported is cupy
    assert cublas is cupy.cuda.cublas
    assert runtime.getDeviceCount() == 1
    with pytest.raises(AttributeError, match="fft"):
        _ = cupy.fft


def test_no_implicit_conversion(cupy):
    x, host = cupy.ones((2, 3), np.float32), np.ones((2, 3), np.float32)
    for convert in (np.asarray, np.array):
        with pytest.raises(TypeError, match="Implicit conversion"):
            convert(x)
    for mix in (
        lambda: x + host,
        lambda: host + x,
        lambda: x * np.ones(()),
        lambda: np.multiply(host, x),
        lambda: np.add(host, 1, out=x),
        lambda: np.add(x, 1, out=host),
        lambda: cupy.where(x > 0, host, x),
        lambda: cupy.concatenate([x, host]),
        lambda: cupy.sum(host),
        lambda: x.__setitem__(..., host),
        lambda: x.__setitem__((0, 0), np.ones(())),
        lambda: x.fill(host),
        lambda: np.linalg.norm(x),
        lambda: range(cupy.ones((), np.int32)),
    ):
        with pytest.raises(TypeError):
            mix()
    with pytest.raises(TypeError):
        host += x
    assert emulation.transfers == emulation.Transfers()
    with pytest.raises(TypeError, match="all returned NotImplemented"):
        np.add.reduce(x)


def test_arithmetic_of_arrays(cupy):
    a, b = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    x, y = cupy.asarray(a), cupy.asarray(b)
    for found, expected in (
        (np.float32(2) * x + 1, 2 * a + 1),
        (np.multiply(x, y), a * b),
        (np.sum(x, axis=0), a.sum(0)),
        (cupy.maximum(x, 0.5), np.maximum(a, 0.5)),
        (cupy.where(x > y, x, 0), np.where(a > b, a, 0)),
        (x @ y.T, a @ b.T),
        (cupy.einsum("ij,kj->ik", x, y), np.einsum("ij,kj->ik", a, b)),
        (cupy.clip(x, 0, None), a.clip(0)),
        (x.clip(max=0.5), a.clip(None, 0.5)),
        (cupy.pad(x, ((1, 1), (0, 2)), mode="wrap"), np.pad(a, ((1, 1), (0, 2)), mode="wrap")),
        (cupy.roll(x, 1, axis=1), np.roll(a, 1, axis=1)),
        (cupy.stack([x, y], axis=1), np.stack([a, b], axis=1)),
        (cupy.concatenate((x, y)), np.concatenate((a, b))),
        (-x[:, None, ::2] / y[None, 1, ..., 1:3], -a[:, None, ::2] / b[None, 1, ..., 1:3]),
        (x[x > 0], a[a > 0]),
        (cupy.arange(5, dtype=np.int32), np.arange(5, dtype=np.int32)),
        (cupy.cumsum(x, axis=1), a.cumsum(1)),
        (abs(x).astype(np.int64), abs(a).astype(np.int64)),
        (x.view(np.uint32), a.view(np.uint32)),
    ):
        assert isinstance(found, cupy.ndarray)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found.get(), expected, rtol=1e-6)
        assert found.data.ptr % 4 == 0
    x -= y
    x[1] *= 2
    x[x < 0] = 0
    a -= b
    a[1] *= 2
    a[a < 0] = 0
    np.testing.assert_array_equal(x.get(), a)


def test_results_stay_on_the_device(cupy):
    x = cupy.ones((2, 3), np.float32)
    for value in (x.sum(), x.mean(), x.max(), x.any(), x[0, 0], cupy.vdot(x, x), cupy.count_nonzero(x), x.argmax()):
        assert isinstance(value, cupy.ndarray)
        assert value.shape == ()
    assert x.any().dtype == bool
    assert emulation.transfers == emulation.Transfers()


def test_layout(cupy):
    x = cupy.empty((2, 3, 4), np.float32)
    assert x.data.ptr % 512 == 0
    assert np.isnan(x.get()).all()
    assert x.ravel().data.ptr == x.reshape(-1).data.ptr == x.data.ptr
    assert x[1].data.ptr == x.data.ptr + 48
    y = x.transpose(1, 2, 0)
    assert not y.flags.c_contiguous
    assert y.ravel().data.ptr != x.data.ptr
    assert (y + 1).flags.c_contiguous  # unlike NumPy's
    assert y.astype(np.float64).strides == (32, 8, 96)  # keeps the order of the axes
    assert cupy.empty_like(y).strides == y.strides
    assert y.copy().flags.c_contiguous
    assert cupy.ascontiguousarray(y).flags.c_contiguous
    assert cupy.asarray(x) is x
    assert x.T.flags.f_contiguous


def test_transfers(cupy):
    transfers = emulation.transfers
    host = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = cupy.asarray(host)
    x.set(host + 1)
    assert (transfers.host_to_device, transfers.host_to_device_bytes) == (2, 48)
    y = cupy.full((2, 3), 2, np.float32) * x + 1
    y.fill(3)
    y[0] = 4
    y[...] = x
    assert (transfers.host_to_device, transfers.device_to_host) == (2, 0)
    out = np.empty_like(host)
    assert x.get(out=out) is out
    assert (transfers.device_to_host, transfers.device_to_host_bytes) == (1, 24)
    assert (float(x.max()), int(x[1, 2]), bool((x > 0).all()), x[0, 0].item()) == (6, 6, True, 1)
    assert x.tolist() == (host + 1).tolist()
    assert cupy.asnumpy(x).sum() == 21
    assert (transfers.device_to_host, transfers.device_to_host_bytes) == (7, 24 + 4 + 4 + 1 + 4 + 24 + 24)
    _ = x[x > 2], cupy.nonzero(x)  # both wait for the number of elements
    assert transfers.device_to_host == 9
    with pytest.raises(TypeError, match="float64"):
        x.set(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="Shape"):
        x.get(out=np.empty(6, np.float32))


# --------------------------------------------------------------------- Devices


def test_devices(cupy, monkeypatch):
    with cupy.cuda.Device(0) as device:
        assert device.compute_capability == "90"
        assert device.mem_info == cupy.cuda.runtime.memGetInfo() == emulation.memory_info
        device.synchronize()
    assert cupy.cuda.runtime.getDeviceProperties(0)["name"] == b"Emulated"
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorInvalidDevice"):
        cupy.cuda.Device(1).use()
    monkeypatch.setattr(emulation, "device_count", 0)
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorNoDevice"):
        cupy.cuda.runtime.getDeviceCount()


def test_memory(cupy, monkeypatch):
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    x = cupy.empty(1000, np.float32)
    assert pool.used_bytes() == before + 4000
    del x
    pool.free_all_blocks()
    assert pool.used_bytes() == before
    monkeypatch.setattr(emulation, "memory_info", (100, 1000))
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="Out of memory allocating 104 bytes"):
        cupy.empty(26, np.float32)


def test_streams(cupy, kernel):
    stream = cupy.cuda.Stream(non_blocking=True)
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    with stream:
        assert cupy.cuda.get_current_stream() == stream
        start.record()
        kernel("asserts")((1,), (1,), (np.int32(1),), stream=stream)
        end.record(stream)
    assert cupy.cuda.get_current_stream() == cupy.cuda.Stream.null
    assert (cupy.cuda.Stream.null.ptr, stream.ptr != 0) == (0, True)
    end.synchronize()
    assert cupy.cuda.get_elapsed_time(start, end) > 0


# --------------------------------------------------------------------- cuBLAS


@pytest.mark.parametrize("transb", [0, 1])
@pytest.mark.parametrize("transa", [0, 1])
def test_gemm(cupy, transa, transb):
    cublas, handle = cupy.cuda.cublas, cupy.cuda.device.get_cublas_handle()
    m, n, k, count, spare = 3, 4, 5, 2, 2
    rng = np.random.default_rng(0)

    def matrices(rows, columns):  # in column-major order: transposed, with a leading dimension beyond the rows
        return rng.normal(size=(count, columns, rows + spare)).astype(np.float32)

    a, b, c = matrices(*((k, m) if transa else (m, k))), matrices(*((n, k) if transb else (k, n))), matrices(m, n)
    left, right = (x[..., :-spare].swapaxes(1, 2) for x in (a, b))
    expected = 0.5 * (left.swapaxes(1, 2) if transa else left) @ (right.swapaxes(1, 2) if transb else right)
    alpha, zero, beta = np.array(0.5, np.float32), np.zeros((), np.float32), np.array(2, np.float32)
    sizes = (m, n, k)
    A, B, C = map(cupy.asarray, (a, b, c))
    lda, ldb, ldc = (x.shape[2] for x in (a, b, c))
    cublas.setStream(handle, cupy.cuda.Stream().ptr)
    cublas.setMathMode(handle, cublas.CUBLAS_DEFAULT_MATH)

    for factor in (zero, beta):
        C.set(c)
        if factor is zero:
            C[...] = np.nan  # must not be read
        before = C.get()
        cublas.sgemmStridedBatched(
            handle, transa, transb, *sizes, alpha.ctypes.data, A.data.ptr, lda, a[0].size, B.data.ptr, ldb, b[0].size,
            factor.ctypes.data, C.data.ptr, ldc, c[0].size, count,
        )  # fmt: skip
        found = C.get()
        with_c = expected if factor is zero else expected + 2 * c[..., :m].swapaxes(1, 2)
        np.testing.assert_allclose(found[..., :m].swapaxes(1, 2), with_c, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found[..., m:], before[..., m:])

    ops, pointers = (transa, transb), (alpha.ctypes.data, zero.ctypes.data)
    C[...] = 0
    cublas.sgemm(handle, *ops, *sizes, pointers[0], A.data.ptr, lda, B.data.ptr, ldb, pointers[1], C.data.ptr, ldc)
    np.testing.assert_allclose(C.get()[0, :, :m].T, expected[0], rtol=1e-5, atol=1e-5)
    C[...] = 0
    cublas.gemmEx(
        handle, *ops, *sizes, pointers[0], A.data.ptr, cupy.cuda.runtime.CUDA_R_32F, lda, B.data.ptr, 0, ldb,
        pointers[1], C.data.ptr, 0, ldc, cublas.CUBLAS_COMPUTE_32F, cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip
    np.testing.assert_allclose(C.get()[0, :, :m].T, expected[0], rtol=1e-5, atol=1e-5)
    assert emulation.launches == {"sgemmStridedBatched": 2, "sgemm": 1, "gemmEx": 1}

    def wrong(lda=lda, alpha=pointers[0], c=C.data.ptr):
        cublas.sgemm(handle, *ops, *sizes, alpha, A.data.ptr, lda, B.data.ptr, ldb, pointers[1], c, ldc)

    with pytest.raises(cublas.CUBLASError, match="INVALID_VALUE"):
        wrong(lda=2)
    with pytest.raises(RuntimeError, match="not within one array"):
        wrong(c=C.data.ptr + C.nbytes - 8)
    with pytest.raises(RuntimeError, match="pointer mode"):
        wrong(alpha=A.data.ptr)
