// Loops over independent units of work, and the scratch memory they use.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <new>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace pyengine {

// Calls body(unit, thread) for every unit. Which thread takes which unit is left to chance, so a unit must write what no
// other does, and what the units wrote is summed afterwards, in their order: then the result does not depend on `threads`.
// What a body throws ends the call, as it would a plain loop, but only once the other units are done: an exception that
// left an OpenMP region would end the process.
template <class Body>
void parallel_for(std::size_t units, int threads, const Body &body) {
#ifdef _OPENMP
    if (threads > 1 && units > 1) {
        std::exception_ptr first;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
        for (std::ptrdiff_t unit = 0; unit < static_cast<std::ptrdiff_t>(units); ++unit) {
            try {
                body(static_cast<std::size_t>(unit), omp_get_thread_num());
            } catch (...) {
#pragma omp critical(pyengine_exception)
                if (!first) first = std::current_exception();
            }
        }
        if (first) std::rethrow_exception(first);
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
