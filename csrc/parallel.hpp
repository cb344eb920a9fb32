// Loops over independent units of work, and the scratch memory they use.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <new>

namespace pyengine {

// Calls body(unit, thread) for every unit, on the calling thread and up to threads - 1 others. Which thread takes which
// unit is left to chance, so a unit must write what no other does, and what the units wrote is summed afterwards, in
// their order: then the result does not depend on `threads`. What a body throws ends the call, but only once the units
// that were begun are done.
//
// The threads are our own, not OpenMP's, whose loops end when every thread of the team has arrived: where other processes
// want the cores, as on any server, that is a time slice away for each of the hundreds of loops of an evaluation. Here
// a thread that comes late finds nothing to do, and nobody waits for it.
void parallel_for(std::size_t units, int threads, const std::function<void(std::size_t, int)> &body);

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
