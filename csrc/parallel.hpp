// Loops over independent units of work, and the scratch memory they use.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>

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

// Memory for scratch, aligned to a cache line. What is given back is kept, up to a limit, for the next call that takes as
// much: an evaluation would otherwise ask the system for the same tens of megabytes again and again, page by page.
void *take_scratch(std::size_t bytes);
void give_scratch(void *memory, std::size_t bytes);
void release_scratch();

// Uninitialised scratch.
template <class T>
class Buffer {
public:
    explicit Buffer(std::size_t size) : bytes_(size * sizeof(T)), data_(static_cast<T *>(take_scratch(bytes_))) {}
    Buffer(Buffer &&other) noexcept : bytes_(other.bytes_), data_(other.data_) { other.data_ = nullptr; }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    ~Buffer() {
        if (data_) give_scratch(data_, bytes_);
    }

    T *data() { return data_; }
    const T *data() const { return data_; }

private:
    std::size_t bytes_;
    T *data_;
};

}  // namespace pyengine
