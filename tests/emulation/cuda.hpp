// CUDA's execution model on the CPU, for the tests: kernels are compiled as C++ with this header before them.
//
// A thread is a fiber. The threads of a block take turns on one thread of the operating system, each until it waits or
// returns; the blocks run one after another. What the hardware leaves undefined (a barrier that not all threads reach,
// a warp function whose mask names a lane that is elsewhere) is reported as an error.
//
// Not emulated: waiting for other threads by polling memory, other than by an `atomicCAS` that fails; never for other
// blocks. Static shared memory keeps what the block before left in it, instead of being undefined.

#pragma once

#include <algorithm>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <type_traits>
#include <utility>

// ---------------------------------------------------------------- Vector types

#define EMULATION_VECTORS(NAME, SCALAR)                                                                               \
    struct alignas(2 * sizeof(SCALAR)) NAME##2 { SCALAR x, y; };                                                      \
    struct NAME##3 { SCALAR x, y, z; };                                                                               \
    struct alignas(sizeof(SCALAR) < 4 ? 4 * sizeof(SCALAR) : 16) NAME##4 { SCALAR x, y, z, w; };                      \
    inline NAME##2 make_##NAME##2(SCALAR x, SCALAR y) { return {x, y}; }                                              \
    inline NAME##3 make_##NAME##3(SCALAR x, SCALAR y, SCALAR z) { return {x, y, z}; }                                 \
    inline NAME##4 make_##NAME##4(SCALAR x, SCALAR y, SCALAR z, SCALAR w) { return {x, y, z, w}; }                    \
    namespace cuda_emulation {                                                                                        \
    template <> struct Scalar<NAME##2> { using type = SCALAR; };                                                      \
    template <> struct Scalar<NAME##3> { using type = SCALAR; };                                                      \
    template <> struct Scalar<NAME##4> { using type = SCALAR; };                                                      \
    }

namespace cuda_emulation {
template <typename T> struct Scalar { using type = T; };
template <typename T> struct Exactly { using type = T; };  // as a parameter, T is not deduced from it
}

EMULATION_VECTORS(uchar, unsigned char)
EMULATION_VECTORS(int, int)
EMULATION_VECTORS(uint, unsigned)
EMULATION_VECTORS(longlong, long long)
EMULATION_VECTORS(ulonglong, unsigned long long)
EMULATION_VECTORS(float, float)
EMULATION_VECTORS(double, double)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

// ---------------------------------------------------------------- Switching between fibers

namespace cuda_emulation {

[[noreturn]] void enter();  // where a fiber starts

// Saves what the calling convention wants preserved, where glibc's swapcontext would make a system call as well.
#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(EMULATION_UCONTEXT)

using Context = void *;  // the stack pointer; below it lie the registers
extern "C" __attribute__((visibility("hidden"))) void cuda_emulation_switch(Context *from, Context to);

#if defined(__x86_64__)
asm(R"(
    .text
    .p2align 4
    .type cuda_emulation_switch, @function
cuda_emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size cuda_emulation_switch, . - cuda_emulation_switch
)");
constexpr int SAVED = 8, RETURN = 6;  // six registers, the return address, and the one that `enter` never uses
#else
asm(R"(
    .text
    .p2align 4
    .type cuda_emulation_switch, %function
cuda_emulation_switch:
    sub sp, sp, #160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size cuda_emulation_switch, . - cuda_emulation_switch
)");
constexpr int SAVED = 20, RETURN = 11;
#endif

inline void prepare(Context &context, char *stack, size_t size) {
    uintptr_t *saved = reinterpret_cast<uintptr_t *>(stack + size) - SAVED;
    for (int i = 0; i < SAVED; ++i) saved[i] = 0;
    saved[RETURN] = reinterpret_cast<uintptr_t>(&enter);
    context = saved;
}

inline void switch_context(Context &from, Context &to) { cuda_emulation_switch(&from, to); }

#else

}
#include <ucontext.h>
namespace cuda_emulation {

using Context = ucontext_t;

inline void prepare(Context &context, char *stack, size_t size) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = size;
    context.uc_link = nullptr;
    makecontext(&context, reinterpret_cast<void (*)()>(&enter), 0);
}

inline void switch_context(Context &from, Context &to) { swapcontext(&from, &to); }

#endif

// ---------------------------------------------------------------- The threads of a block

// Not a power of two: the tops of the stacks must not all fall into the same few sets of the cache.
constexpr size_t STACK = 64 * 1024 + 448;
constexpr uint64_t STACK_END = 0x7ffd7ffd7ffd7ffd;  // the last word of a stack, which nobody may reach
constexpr unsigned MAX_THREADS = 1024, LANES = 32;
constexpr size_t MAX_SHARED = 227 * 1024, SHARED_GUARD = 1024;
constexpr unsigned MAX_SPINS = 1 << 24;

enum State : unsigned char { RUNNABLE, BARRIER, WARP, EXITED };

enum Function : unsigned char { SYNC, SHFL, SHFL_UP, SHFL_DOWN, SHFL_XOR, BALLOT, ANY, ALL, MATCH };
static const char *const names[] = {"__syncwarp",      "__shfl_sync",   "__shfl_up_sync", "__shfl_down_sync",
                                    "__shfl_xor_sync", "__ballot_sync", "__any_sync",     "__all_sync",
                                    "__match_any_sync"};

struct Thread {
    Context context;
    uint3 index;
    State state;
    // At a warp function: which, for which lanes, from which lane this one takes its result, what it contributes.
    Function function;
    unsigned mask, source;
    uint64_t value, result;
    unsigned lanes;  // kept by the first lane of a warp: those of it that are at a warp function
};

// A launch but for the kernel and its arguments, as the Python side passes it.
struct Launch {
    unsigned grid[3], block[3];
    unsigned shared;  // bytes of dynamic shared memory
    int order;        // of blocks and threads: 0 ascending, 1 descending, 2 shuffled
    uint64_t seed;
};

static Thread threads[MAX_THREADS];
static char *stacks;
static unsigned count, exited, arrived, votes, elected, spins;  // of the block that runs
static Thread *current;
static Context scheduler;
static void (*body)(void *);
static void *body_arguments;
static char error[512];  // empty while there is none
alignas(16) static unsigned char dynamic_shared[MAX_SHARED + SHARED_GUARD];

inline void yield() {
    switch_context(current->context, scheduler);
    asm volatile("" ::: "memory");  // other threads have written to shared memory
}

// Ends the launch from within a thread.
[[noreturn]] inline void fail(const char *what, const char *detail = "") {
    snprintf(error, sizeof error, "thread (%u, %u, %u) of block (%u, %u, %u): %s%s", threadIdx.x, threadIdx.y,
             threadIdx.z, blockIdx.x, blockIdx.y, blockIdx.z, what, detail);
    yield();
    abort();
}

void enter() {
    body(body_arguments);
    current->state = EXITED;
    ++exited;
    yield();
    abort();
}

// Returns how many threads voted.
inline int barrier(bool vote = false) {
    current->state = BARRIER;
    ++arrived;
    votes += vote;
    yield();
    return int(elected);
}

// A warp function: waits for all lanes of `mask`; the last to arrive computes what every one of them returns. It leaves
// that with the lanes, so that a fast lane may already be at the next one while a slow lane has still to return.
inline uint64_t converge(Function function, unsigned mask, uint64_t value = 0, unsigned source = 0) {
    const unsigned position = unsigned(current - threads), lane = position % LANES, first = position - lane;
    Thread *const warp = threads + first;
    if (!(mask >> lane & 1)) fail(names[function], ": its mask lacks the calling lane");
    if (count - first < LANES && mask >> (count - first))
        fail(names[function], ": its mask names lanes that do not exist");
    current->state = WARP;
    current->function = function;
    current->mask = mask;
    current->source = source;
    current->value = value;
    warp->lanes |= 1u << lane;
    bool complete = (warp->lanes & mask) == mask;
    unsigned ballot = 0;
    for (unsigned rest = complete ? mask : 0; rest; rest &= rest - 1) {
        const int i = __builtin_ctz(rest);
        complete &= warp[i].mask == mask;  // otherwise that lane has still to come here from elsewhere
        ballot |= unsigned(warp[i].value != 0) << i;
    }
    if (!complete) {
        yield();
        return current->result;
    }
    for (unsigned rest = mask; rest; rest &= rest - 1)
        if (warp[__builtin_ctz(rest)].function != function) fail(names[function], ": a lane of its mask is at another");
    warp->lanes &= ~mask;
    for (unsigned rest = mask; rest; rest &= rest - 1) {
        Thread &other = warp[__builtin_ctz(rest)];
        other.state = RUNNABLE;
        if (function >= SHFL && function <= SHFL_XOR) {  // undefined from a lane outside of the mask: NaN
            other.result = mask >> other.source & 1 ? warp[other.source].value : ~uint64_t(0);
        } else if (function == MATCH) {
            other.result = 0;
            for (unsigned i = mask; i; i &= i - 1)
                other.result |= uint64_t(warp[__builtin_ctz(i)].value == other.value) << __builtin_ctz(i);
        } else {
            other.result = ballot;
        }
    }
    return current->result;
}

// The lane that a shuffle reads, in segments of `width` lanes.
inline unsigned shuffled(Function function, int by, int width) {
    if (width < 1 || width > int(LANES) || (width & (width - 1))) fail(names[function], ": bad width");
    const int lane = int((current - threads) % LANES), first = lane & ~(width - 1);
    const int from = function == SHFL        ? first + (by & (width - 1))
                     : function == SHFL_UP   ? lane - by
                     : function == SHFL_DOWN ? lane + by
                                             : lane ^ by;
    const bool outside = function == SHFL_UP ? from < first : from >= first + width;
    return unsigned(outside ? lane : from) % LANES;
}

template <typename T> uint64_t bits(T value) {
    static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "not a type of CUDA's warp functions");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}

template <typename T> T shuffle(Function function, unsigned mask, T value, int by, int width) {
    const uint64_t bits = converge(function, mask, cuda_emulation::bits(value), shuffled(function, by, width));
    memcpy(&value, &bits, sizeof value);
    return value;
}

// ---------------------------------------------------------------- The scheduler

// In which order the blocks run, and the threads of a block between two waits.
class Order {
public:
    explicit Order(const Launch &launch)
        : blocks(uint64_t(launch.grid[0]) * launch.grid[1] * launch.grid[2]), kind(launch.order), state(launch.seed) {
        if (kind != 2) return;
        place = random(blocks);
        for (stride = blocks * 5 / 8 + 1; divisor(stride, blocks) != 1; ++stride) {}
    }

    uint64_t block(uint64_t i) {
        if (kind != 2) return kind == 1 ? blocks - 1 - i : i;
        return place = (place + stride) % blocks;
    }

    void first_round() {
        for (unsigned i = 0; i < count; ++i) turns[i] = static_cast<unsigned short>(kind == 1 ? count - 1 - i : i);
        if (by_warps())  // the last warp first: it overtakes the first, which often has the most to do
            std::sort(turns, turns + count, [](unsigned a, unsigned b) {
                return a / LANES != b / LANES ? a / LANES > b / LANES : a < b;
            });
    }

    void next_round() {
        if (kind == 2)
            for (unsigned i = count - 1; i > 0; --i) std::swap(turns[i], turns[random(i + 1)]);
    }

    // Whether a warp runs until all its lanes wait for others, before the next warp has its turn.
    bool by_warps() const { return kind == 3; }

    const uint64_t blocks;
    unsigned short turns[MAX_THREADS];

private:
    static uint64_t divisor(uint64_t a, uint64_t b) { return b ? divisor(b, a % b) : a; }

    uint64_t random(uint64_t below) {  // SplitMix64
        uint64_t z = state += 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return ((z ^ z >> 31) >> 32) * below >> 32;
    }

    int kind;
    uint64_t state, place = 0, stride = 1;
};

// Where no thread can run: names one and what it waits for.
inline void report_deadlock() {
    const Thread *waiting = nullptr, *absent = nullptr;
    for (unsigned i = 0; i < count && !absent; ++i) {
        if (threads[i].state != WARP) continue;
        waiting = &threads[i];
        for (unsigned rest = waiting->mask; rest && !absent; rest &= rest - 1) {
            const Thread &other = threads[i / LANES * LANES + __builtin_ctz(rest)];
            if (other.state != WARP || other.mask != waiting->mask) absent = &other;
        }
    }
    if (!waiting)  // all are at the barrier or gone
        for (unsigned i = 0; i < count; ++i) (threads[i].state == BARRIER ? waiting : absent) = &threads[i];
    const uint3 a = waiting->index, b = absent->index;
    snprintf(error, sizeof error,
             "thread (%u, %u, %u) of block (%u, %u, %u) waits at %s for thread (%u, %u, %u), which %s", a.x, a.y, a.z,
             blockIdx.x, blockIdx.y, blockIdx.z,
             waiting->state == BARRIER ? "__syncthreads" : names[waiting->function], b.x, b.y, b.z,
             absent->state == EXITED    ? "has returned"
             : absent->state == BARRIER ? "is at __syncthreads"
                                        : "is at a warp function with another mask");
}

inline void run_block(Order &order, unsigned shared) {
    exited = arrived = votes = spins = 0;
    memset(dynamic_shared, 0xff, shared + SHARED_GUARD);
    for (unsigned i = 0; i < count; ++i) {
        char *stack = stacks + i * STACK;
        memcpy(stack, &STACK_END, sizeof STACK_END);
        prepare(threads[i].context, stack, STACK);
        threads[i].index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
        threads[i].state = RUNNABLE;
        threads[i].lanes = 0;
    }
    order.first_round();
    while (exited < count) {
        bool idle = true;
        order.next_round();
        for (unsigned i = 0; i < count; ++i) {
            current = &threads[order.turns[i]];
            if (current->state == RUNNABLE) {
                idle = false;
                threadIdx = current->index;
                switch_context(scheduler, current->context);
                if (memcmp(stacks + order.turns[i] * STACK, &STACK_END, sizeof STACK_END))
                    snprintf(error, sizeof error, "a thread needs more than %zu KiB of local memory", STACK / 1024);
                if (error[0]) return;
            }
            const auto warp = [&](unsigned k) { return order.turns[k] / LANES; };
            if (order.by_warps() && (i + 1 == count || warp(i + 1) != warp(i))) {
                unsigned first = i;
                while (first > 0 && warp(first - 1) == warp(i)) --first;
                bool runnable = false;
                for (unsigned k = first; k <= i; ++k) runnable |= threads[order.turns[k]].state == RUNNABLE;
                if (runnable) i = first - 1;
            }
        }
        if (arrived == count) {
            for (unsigned i = 0; i < count; ++i) threads[i].state = RUNNABLE;
            elected = votes;
            arrived = votes = 0;
        } else if (idle) {
            return report_deadlock();
        }
    }
    for (size_t i = shared; i < shared + SHARED_GUARD; ++i)
        if (dynamic_shared[i] != 0xff)
            snprintf(error, sizeof error, "dynamic shared memory was written beyond its %u bytes", shared);
}

// Returns the error, or nullptr.
template <typename... P, size_t... I>
const char *run(void (*kernel)(P...), const Launch &launch, void *const *arguments, std::index_sequence<I...>) {
    auto call = [&] { kernel(*static_cast<P *>(arguments[I])...); };
    using Call = decltype(call);
    body = [](void *call) { (*static_cast<Call *>(call))(); };
    body_arguments = &call;
    blockDim = {launch.block[0], launch.block[1], launch.block[2]};
    gridDim = {launch.grid[0], launch.grid[1], launch.grid[2]};
    count = blockDim.x * blockDim.y * blockDim.z;
    if (!stacks) stacks = static_cast<char *>(malloc((MAX_THREADS + 1) * STACK)) + STACK;  // room to overflow into
    error[0] = 0;
    Order order(launch);
    for (uint64_t i = 0; i < order.blocks && !error[0]; ++i) {
        const uint64_t block = order.block(i);
        blockIdx = {unsigned(block % gridDim.x), unsigned(block / gridDim.x % gridDim.y),
                    unsigned(block / gridDim.x / gridDim.y)};
        run_block(order, launch.shared);
    }
    return error[0] ? error : nullptr;
}

template <typename... P> const char *run(void (*kernel)(P...), const Launch &launch, void *const *arguments) {
    return run(kernel, launch, arguments, std::index_sequence_for<P...>{});
}

// A parameter in NumPy's notation, after a "*" where it is a pointer to that: "*f4", "i4". "V" fits nothing.
template <typename T> void describe(char *&end) {
    using Target = std::remove_cv_t<std::remove_pointer_t<T>>;
    if constexpr (std::is_void_v<Target>) {
        end += sprintf(end, "* ");
    } else {
        using S = std::conditional_t<std::is_pointer_v<T>, typename Scalar<Target>::type, Target>;
        const char kind = std::is_same_v<S, bool>         ? 'b'
                          : std::is_floating_point_v<S>   ? 'f'
                          : !std::is_integral_v<S>        ? 'V'
                          : std::is_signed_v<S>           ? 'i'
                                                          : 'u';
        end += sprintf(end, "%s%c%zu ", std::is_pointer_v<T> ? "*" : "", kind, sizeof(S));
    }
}

template <typename... P> const char *signature(void (*)(P...)) {
    static char text[16 * sizeof...(P) + 1];
    char *end = text;
    (describe<P>(end), ...);
    return text;
}

}  // namespace cuda_emulation

// What the Python side appends to a source for each of its kernels. `BOUND` is that of `__launch_bounds__`.
#define EMULATION_EXPORT extern "C" __attribute__((visibility("default")))
#define EMULATION_KERNEL(NUMBER, BOUND, ...)                                                                          \
    EMULATION_EXPORT unsigned bound_##NUMBER() { return BOUND; }                                                      \
    EMULATION_EXPORT const char *signature_##NUMBER() { return cuda_emulation::signature(__VA_ARGS__); }              \
    EMULATION_EXPORT const char *launch_##NUMBER(const cuda_emulation::Launch *launch_, void *const *arguments_) {    \
        return cuda_emulation::run(__VA_ARGS__, *launch_, arguments_);                                                \
    }

// ---------------------------------------------------------------- The language

#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __align__(BYTES) alignas(BYTES)
#define __launch_bounds__(...)

#undef assert
#define assert(CONDITION) ((CONDITION) ? void() : cuda_emulation::fail("assertion failed: ", #CONDITION))
inline void __trap() { cuda_emulation::fail("__trap"); }

// ---------------------------------------------------------------- Synchronisation and warp functions

inline void __syncthreads() { cuda_emulation::barrier(); }
inline int __syncthreads_count(int predicate) { return cuda_emulation::barrier(predicate); }
inline int __syncthreads_or(int predicate) { return cuda_emulation::barrier(predicate) != 0; }
inline int __syncthreads_and(int predicate) { return cuda_emulation::barrier(!predicate) == 0; }
inline void __threadfence() {}
inline void __threadfence_block() {}

inline void __syncwarp(unsigned mask = 0xffffffff) { cuda_emulation::converge(cuda_emulation::SYNC, mask); }

inline unsigned __ballot_sync(unsigned mask, int predicate) {
    return unsigned(cuda_emulation::converge(cuda_emulation::BALLOT, mask, predicate != 0));
}
inline int __any_sync(unsigned mask, int predicate) {
    return cuda_emulation::converge(cuda_emulation::ANY, mask, predicate != 0) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
    return cuda_emulation::converge(cuda_emulation::ALL, mask, predicate != 0) == mask;
}
template <typename T> unsigned __match_any_sync(unsigned mask, T value) {
    return unsigned(cuda_emulation::converge(cuda_emulation::MATCH, mask, cuda_emulation::bits(value)));
}
template <typename T> T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize) {
    return cuda_emulation::shuffle(cuda_emulation::SHFL, mask, value, lane, width);
}
template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
    return cuda_emulation::shuffle(cuda_emulation::SHFL_UP, mask, value, int(delta), width);
}
template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
    return cuda_emulation::shuffle(cuda_emulation::SHFL_DOWN, mask, value, int(delta), width);
}
template <typename T> T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize) {
    return cuda_emulation::shuffle(cuda_emulation::SHFL_XOR, mask, value, lanes, width);
}

// ---------------------------------------------------------------- Atomics: a thread is never interrupted

#define EMULATION_ATOMIC(NAME, NEW, ...)                                                                              \
    template <typename T> T NAME(T *address, typename cuda_emulation::Exactly<T>::type value) {                       \
        static_assert(cuda_emulation::one_of<T, __VA_ARGS__>, #NAME " has no such overload in CUDA");                 \
        const T old = *address;                                                                                       \
        *address = NEW;                                                                                               \
        return old;                                                                                                   \
    }

namespace cuda_emulation {
template <typename T, typename... S> constexpr bool one_of = (std::is_same_v<T, S> || ...);
}

EMULATION_ATOMIC(atomicAdd, old + value, int, unsigned, unsigned long long, float, double)
EMULATION_ATOMIC(atomicSub, old - value, int, unsigned)
EMULATION_ATOMIC(atomicMax, value > old ? value : old, int, unsigned, long long, unsigned long long)
EMULATION_ATOMIC(atomicMin, value < old ? value : old, int, unsigned, long long, unsigned long long)
EMULATION_ATOMIC(atomicAnd, old & value, int, unsigned, unsigned long long)
EMULATION_ATOMIC(atomicOr, old | value, int, unsigned, unsigned long long)
EMULATION_ATOMIC(atomicXor, old ^ value, int, unsigned, unsigned long long)
EMULATION_ATOMIC(atomicExch, value, int, unsigned, unsigned long long, float)

template <typename T> T atomicCAS(T *address, typename cuda_emulation::Exactly<T>::type compare,
                                  typename cuda_emulation::Exactly<T>::type value) {
    static_assert(cuda_emulation::one_of<T, int, unsigned, unsigned long long>,
                  "atomicCAS has no such overload in CUDA");
    const T old = *address;
    if (old == compare) {
        *address = value;
    } else {  // perhaps a lock, which another thread of the block holds
        if (++cuda_emulation::spins > cuda_emulation::MAX_SPINS) cuda_emulation::fail("atomicCAS fails forever");
        cuda_emulation::yield();
    }
    return old;
}

// ---------------------------------------------------------------- Arithmetic

// CUDA has them of two integers of one size and of two floats; NaN loses, as with fminf.
namespace cuda_emulation {
template <typename A, typename B> struct Common {
    using type = decltype(A() + B());
    static_assert(std::is_floating_point_v<A> == std::is_floating_point_v<B> &&
                      (std::is_floating_point_v<A> || sizeof(+A()) == sizeof(+B())),
                  "min and max have no such overload in CUDA");
};
}

template <typename A, typename B> typename cuda_emulation::Common<A, B>::type min(A a, B b) {
    const typename cuda_emulation::Common<A, B>::type x = a, y = b;
    if constexpr (std::is_floating_point_v<A>) return fmin(x, y);
    return y < x ? y : x;
}
template <typename A, typename B> typename cuda_emulation::Common<A, B>::type max(A a, B b) {
    const typename cuda_emulation::Common<A, B>::type x = a, y = b;
    if constexpr (std::is_floating_point_v<A>) return fmax(x, y);
    return x < y ? y : x;
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }

template <typename T> T __ldg(const T *address) { return *address; }

namespace cuda_emulation {
template <typename To, typename From> To reinterpret(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
}

inline unsigned __float_as_uint(float x) { return cuda_emulation::reinterpret<unsigned>(x); }
inline int __float_as_int(float x) { return cuda_emulation::reinterpret<int>(x); }
inline float __uint_as_float(unsigned x) { return cuda_emulation::reinterpret<float>(x); }
inline float __int_as_float(int x) { return cuda_emulation::reinterpret<float>(x); }
inline long long __double_as_longlong(double x) { return cuda_emulation::reinterpret<long long>(x); }
inline double __longlong_as_double(long long x) { return cuda_emulation::reinterpret<double>(x); }

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __frcp_rn(float a) { return 1 / a; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline double __dsqrt_rn(double a) { return sqrt(a); }
inline int __float2int_rn(float x) { return int(rintf(x)); }
inline int __float2int_rd(float x) { return int(floorf(x)); }
inline int __float2int_ru(float x) { return int(ceilf(x)); }
inline int __float2int_rz(float x) { return int(x); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }
inline float __double2float_rn(double x) { return float(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0), 1); }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
