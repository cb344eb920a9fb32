// Loops over independent units of work, and the scratch memory they use.
#pragma once

#include <algorithm>
#include <cstddef>
#include <new>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace pyengine {

// Calls body(unit, thread) for every unit. Which thread takes which unit is left to chance, so a unit must write what no
// other does, and what the units wrote is summed afterwards, in their order: then the result does not depend on `threads`.
// The body must not throw.
template <class Body>
void parallel_for(std::size_t units, int threads, const Body &body) {
#ifdef _OPENMP
    if (threads > 1 && units > 1) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
        for (std::ptrdiff_t unit = 0; unit < static_cast<std::ptrdiff_t>(units); ++unit)
            body(static_cast<std::size_t>(unit), omp_get_thread_num());
        return;
    }
#endif
    (void)threads;
    for (std::size_t unit = 0; unit < units; ++unit) body(unit, 0);
}

// No more threads than there are units, so that none is started for nothing.
inline int useful_threads(std::size_t units, int threads) {
    return static_cast<int>(std::min(units, static_cast<std::size_t>(threads)));
}

// Uninitialised memory, aligned to a cache line.
template <class T>
class Buffer {
public:
    explicit Buffer(std::size_t size)
        : data_(static_cast<T *>(::operator new(size * sizeof(T), std::align_val_t(64)))) {}
    Buffer(Buffer &&other) noexcept : data_(other.data_) { other.data_ = nullptr; }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    ~Buffer() { ::operator delete(data_, std::align_val_t(64)); }

    T *data() { return data_; }
    const T *data() const { return data_; }

private:
    T *data_;
};

}  // namespace pyengine
