#include "parallel.hpp"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <list>
#include <map>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#ifdef _WIN32
#include <process.h>
#define process_id _getpid
#else
#include <unistd.h>
#define process_id getpid
#endif

namespace pyengine {
namespace {

struct Job {
    const std::function<void(std::size_t, int)> &body;
    std::size_t units;
    int places;  // for helpers that have not come yet: the pool's mutex guards these three
    int helpers = 0, running = 0;
    std::atomic<std::size_t> next{0};
    std::exception_ptr first_exception{};
    std::mutex exception_mutex{};

    void work(int thread) {
        for (std::size_t unit; (unit = next++) < units;) {
            try {
                body(unit, thread);
            } catch (...) {
                const std::lock_guard<std::mutex> lock(exception_mutex);
                if (!first_exception) first_exception = std::current_exception();
                next = units;
            }
        }
    }
};

// Threads that sleep until a loop wants help.
class Pool {
public:
    void run(Job &job) {
        const int wanted = job.places;  // as long as nobody else knows of the job
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            try {
                for (; workers_ < wanted; ++workers_) std::thread([this] { help(); }).detach();
            } catch (const std::system_error &) {  // the system gives no more: those that there are will do
            }
            jobs_.push_back(&job);
        }
        if (wanted == 1) {
            wake_.notify_one();
        } else {
            wake_.notify_all();
        }
        job.work(0);
        std::unique_lock<std::mutex> lock(mutex_);
        jobs_.remove(&job);
        done_.wait(lock, [&] { return job.running == 0; });
    }

private:
    void help() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            const auto open = [](const Job *job) { return job->places > 0 && job->next < job->units; };
            auto found = jobs_.end();
            wake_.wait(lock, [&] {
                found = std::find_if(jobs_.begin(), jobs_.end(), open);
                return found != jobs_.end();
            });
            Job &job = **found;
            --job.places;
            ++job.running;
            const int thread = ++job.helpers;
            lock.unlock();
            job.work(thread);
            lock.lock();
            if (--job.running == 0) done_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::list<Job *> jobs_;
    int workers_ = 0;
};

// Never destroyed: its threads may outlive everything else. A forked process has none of them, so it gets a pool of its
// own.
Pool &pool() {
    static std::mutex mutex;
    static Pool *current = nullptr;
    static int owner = 0;
    const std::lock_guard<std::mutex> lock(mutex);
    if (!current || owner != static_cast<int>(process_id())) {
        current = new Pool;
        owner = static_cast<int>(process_id());
    }
    return *current;
}

// ----------------------------------------------------------------------------------------------------------- scratch

constexpr std::align_val_t alignment{64};
constexpr std::size_t most_kept = std::size_t{1} << 27;
constexpr std::size_t least_kept = 1 << 16;  // less comes from the heap as fast

struct Scratch {
    std::mutex mutex;
    std::multimap<std::size_t, void *> kept;
    std::size_t bytes = 0;
};

Scratch &scratch() {
    static Scratch *one = new Scratch;  // never destroyed, as threads may still give memory back
    return *one;
}

}  // namespace

void *take_scratch(std::size_t bytes) {
    Scratch &all = scratch();
    {
        const std::lock_guard<std::mutex> lock(all.mutex);
        const auto found = all.kept.find(bytes);
        if (found != all.kept.end()) {
            void *memory = found->second;
            all.kept.erase(found);
            all.bytes -= bytes;
            return memory;
        }
    }
    return ::operator new(bytes, alignment);
}

void give_scratch(void *memory, std::size_t bytes) {
    Scratch &all = scratch();
    if (bytes >= least_kept) {
        const std::lock_guard<std::mutex> lock(all.mutex);
        if (all.bytes + bytes <= most_kept) {
            all.kept.emplace(bytes, memory);
            all.bytes += bytes;
            return;
        }
    }
    ::operator delete(memory, alignment);
}

void release_scratch() {
    Scratch &all = scratch();
    const std::lock_guard<std::mutex> lock(all.mutex);
    for (const auto &[bytes, memory] : all.kept) ::operator delete(memory, alignment);
    all.kept.clear();
    all.bytes = 0;
}

void parallel_for(std::size_t units, int threads, const std::function<void(std::size_t, int)> &body) {
    const int helpers = useful_threads(units, threads) - 1;
    Job job{.body = body, .units = units, .places = std::max(helpers, 0)};
    if (helpers > 0) {
        pool().run(job);
    } else {
        job.work(0);
    }
    if (job.first_exception) std::rethrow_exception(job.first_exception);
}

}  // namespace pyengine
