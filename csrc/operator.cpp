// The convolution as an operator of ONNX Runtime, `pyengine.Convolution`: inputs x (1, I, H, W), filters (O, I, 3, 3) and
// biases (O,), both constants; attributes `border` (0: x has one of its own, 1: zeros, 2: wraps round), `relu` (0 or 1)
// and `pool` (0: none, 1: average, 2: maximum); outputs y (1, O, h, w), where (h, w) is (H, W), or (H - 2, W - 2) where
// the border is given, or half of these, rounded up, after a pool; and if it is asked for, the mask (1, O, ceil(h / 4),
// ceil(w / 4)) of the map before the pool, uint16 (mask.hpp).
//
// ONNX Runtime finds `RegisterCustomOps` in this module when a session's options are told its path. Its C interface is a
// table of functions and the structure of an operator, both of which only ever grow at their ends. No package index has
// the header, so what is used of it is declared here.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#include "winograd.hpp"

namespace pyengine {
namespace {

struct Status;
struct SessionOptions;
struct Domain;
struct Value;
struct ShapeInfo;
struct KernelInfo;
struct KernelContext;

struct ApiBase {
    const void *const *(*get)(std::uint32_t version);
    const char *(*version)();
};

constexpr std::uint32_t api_version = 17;  // the first with `parallel_for`; ONNX Runtime 1.17

// The interface: each member is the function at one position of the table.
struct Api {
    const void *const *table;

    template <class F>
    F *at(std::size_t position) const {
        return reinterpret_cast<F *>(const_cast<void *>(table[position]));
    }

    Status *fail(const char *text) const { return at<Status *(int, const char *)>(0)(1, text); }
    const char *message(const Status *status) const { return at<const char *(const Status *)>(2)(status); }
    Status *create_domain(const char *name, Domain **out) const {
        return at<Status *(const char *, Domain **)>(26)(name, out);
    }
    Status *add_operator(Domain *domain, const void *op) const {
        return at<Status *(Domain *, const void *)>(27)(domain, op);
    }
    Status *add_domain(SessionOptions *options, Domain *domain) const {
        return at<Status *(SessionOptions *, Domain *)>(28)(options, domain);
    }
    Status *data(const Value *value, void **out) const { return at<Status *(const Value *, void **)>(51)(value, out); }
    Status *rank(const ShapeInfo *info, std::size_t *out) const {
        return at<Status *(const ShapeInfo *, std::size_t *)>(61)(info, out);
    }
    Status *dimensions(const ShapeInfo *info, std::int64_t *out, std::size_t rank) const {
        return at<Status *(const ShapeInfo *, std::int64_t *, std::size_t)>(62)(info, out, rank);
    }
    Status *shape_info(const Value *value, ShapeInfo **out) const {
        return at<Status *(const Value *, ShapeInfo **)>(65)(value, out);
    }
    Status *attribute(const KernelInfo *info, const char *name, std::int64_t *out) const {
        return at<Status *(const KernelInfo *, const char *, std::int64_t *)>(86)(info, name, out);
    }
    Status *input(const KernelContext *context, std::size_t index, const Value **out) const {
        return at<Status *(const KernelContext *, std::size_t, const Value **)>(90)(context, index, out);
    }
    Status *output(KernelContext *context, std::size_t index, const std::int64_t *shape, std::size_t rank,
                   Value **out) const {
        return at<Status *(KernelContext *, std::size_t, const std::int64_t *, std::size_t, Value **)>(91)(
            context, index, shape, rank, out);
    }
    void release(Status *status) const { at<void(Status *)>(93)(status); }
    void release(ShapeInfo *info) const { at<void(ShapeInfo *)>(99)(info); }
    Status *constant_input(const KernelInfo *info, std::size_t index, int *constant, const Value **out) const {
        return at<Status *(const KernelInfo *, std::size_t, int *, const Value **)>(249)(info, index, constant, out);
    }
    Status *parallel_for(const KernelContext *context, void (*body)(void *, std::size_t), std::size_t total,
                         std::size_t batches, void *data) const {
        return at<Status *(const KernelContext *, void (*)(void *, std::size_t), std::size_t, std::size_t, void *)>(274)(
            context, body, total, batches, data);
    }

    void check(Status *status) const {
        if (!status) return;
        const std::string text = message(status);
        release(status);
        throw std::runtime_error(text);
    }

    // What is thrown does not pass through C: it becomes a status.
    template <class F>
    Status *attempt(const F &function) const {
        try {
            function();
            return nullptr;
        } catch (const std::exception &error) {
            return fail(error.what());
        }
    }

    template <std::size_t Rank>
    std::array<std::size_t, Rank> shape(const Value *value) const {
        ShapeInfo *info = nullptr;
        check(shape_info(value, &info));
        const auto free = [this](ShapeInfo *held) { release(held); };
        const std::unique_ptr<ShapeInfo, decltype(free)> held(info, free);
        std::size_t found = 0;
        check(rank(info, &found));
        if (found != Rank) throw std::runtime_error("Convolution: an input of " + std::to_string(found) + " dimensions");
        std::array<std::int64_t, Rank> sizes;
        check(dimensions(info, sizes.data(), Rank));
        std::array<std::size_t, Rank> result;
        for (std::size_t d = 0; d < Rank; ++d) result[d] = static_cast<std::size_t>(sizes[d]);
        return result;
    }

    template <class T>
    T *pointer(const Value *value) const {
        void *memory = nullptr;
        check(data(value, &memory));
        return static_cast<T *>(memory);
    }
};

// A node of a graph.
class Node {
public:
    Node(const Api &api, const KernelInfo *info) : api_(api) {
        const Value *filters = constant(info, 1), *biases = constant(info, 2);
        const auto shape = api.shape<4>(filters);
        if (shape[2] != 3 || shape[3] != 3 || api.shape<1>(biases)[0] != shape[0])
            throw std::runtime_error("Convolution: the filters have to be (O, I, 3, 3), the biases (O,)");
        border_ = static_cast<Border>(attribute(info, "border", 2));
        relu_ = attribute(info, "relu", 1) != 0;
        pooling_ = static_cast<Pooling>(attribute(info, "pool", 2));
        convolution_ = std::make_unique<Winograd>(api.pointer<const float>(filters), api.pointer<const float>(biases),
                                                  shape[0], shape[1]);
    }

    Status *compute(KernelContext *context) const {
        return api_.attempt([&] { run(context); });
    }

private:
    void run(KernelContext *context) const {
        const Value *in = nullptr;
        api_.check(api_.input(context, 0, &in));
        const auto shape = api_.shape<4>(in);
        const std::size_t border = border_ == Border::given ? 2 : 0;
        if (shape[0] != 1 || shape[1] != convolution_->inputs() || shape[2] <= border || shape[3] <= border)
            throw std::runtime_error("Convolution: x has to be (1, I, H, W), with the filters' I");
        const std::size_t height = shape[2] - border, width = shape[3] - border;
        const bool pooled = pooling_ != Pooling::none;
        Value *const out = output(context, 0, pooled ? (height + 1) / 2 : height, pooled ? (width + 1) / 2 : width);
        Value *const mask = output(context, 1, masks(height), masks(width));
        // On ONNX Runtime's own threads: a second set would fight with them for the cores.
        const Loop loop = [&](std::size_t units, const std::function<void(std::size_t)> &body) {
            struct Work {
                const std::function<void(std::size_t)> &body;
                std::atomic<bool> failed{false};
            } work{body, {}};
            const auto call = [](void *data, std::size_t unit) {
                auto *const work = static_cast<Work *>(data);
                try {
                    work->body(unit);
                } catch (const std::exception &) {
                    work->failed = true;
                }
            };
            api_.check(api_.parallel_for(context, call, units, 0, &work));
            if (work.failed) throw std::bad_alloc();  // there is nothing else that can fail
        };
        convolution_->run(api_.pointer<const float>(in), height, width, border_, relu_, pooling_,
                          api_.pointer<float>(out), mask ? api_.pointer<Mask>(mask) : nullptr, loop);
    }

    // Null where the graph does not ask for it.
    Value *output(KernelContext *context, std::size_t index, std::size_t height, std::size_t width) const {
        const std::int64_t sizes[] = {1, static_cast<std::int64_t>(convolution_->outputs()),
                                      static_cast<std::int64_t>(height), static_cast<std::int64_t>(width)};
        Value *out = nullptr;
        api_.check(api_.output(context, index, sizes, 4, &out));
        return out;
    }

    std::int64_t attribute(const KernelInfo *info, const char *name, std::int64_t most) const {
        std::int64_t value = 0;
        api_.check(api_.attribute(info, name, &value));
        if (value < 0 || value > most)
            throw std::runtime_error(std::string("Convolution: ") + name + " has to be 0 to " + std::to_string(most));
        return value;
    }

    const Value *constant(const KernelInfo *info, std::size_t index) const {
        int constant = 0;
        const Value *value = nullptr;
        api_.check(api_.constant_input(info, index, &constant, &value));
        if (!constant) throw std::runtime_error("Convolution: filters and biases have to be constants");
        return value;
    }

    Api api_;
    Border border_{};
    bool relu_{};
    Pooling pooling_{};
    std::unique_ptr<Winograd> convolution_;
};

// The structure of an operator, up to what has `version` 16; what comes later is left empty.
struct Operator {
    std::uint32_t version;
    void *(*create)(const Operator *, const void *const *, const KernelInfo *);
    const char *(*name)(const Operator *);
    const char *(*provider)(const Operator *);
    int (*input_type)(const Operator *, std::size_t);
    std::size_t (*inputs)(const Operator *);
    int (*output_type)(const Operator *, std::size_t);
    std::size_t (*outputs)(const Operator *);
    void (*compute)(void *, KernelContext *);
    void (*destroy)(void *);
    int (*input_kind)(const Operator *, std::size_t);
    int (*output_kind)(const Operator *, std::size_t);
    int (*input_memory)(const Operator *, std::size_t);
    int (*least_inputs)(const Operator *);
    int (*alike_inputs)(const Operator *);
    int (*least_outputs)(const Operator *);
    int (*alike_outputs)(const Operator *);
    Status *(*create_or_fail)(const Operator *, const void *const *, const KernelInfo *, void **);
    Status *(*compute_or_fail)(void *, KernelContext *);
    void *later[7];
};

constexpr int float32 = 1, uint16 = 4;  // of the types of tensors

int zero(const Operator *, std::size_t) { return 0; }
int one(const Operator *) { return 1; }

const Operator convolution = {
    16,
    nullptr,  // see create_or_fail
    [](const Operator *) { return "Convolution"; },
    [](const Operator *) -> const char * { return nullptr; },  // the CPU's
    [](const Operator *, std::size_t) { return float32; },
    [](const Operator *) { return std::size_t{3}; },
    [](const Operator *, std::size_t index) { return index == 0 ? float32 : uint16; },
    [](const Operator *) { return std::size_t{2}; },
    nullptr,  // see compute_or_fail
    [](void *node) { delete static_cast<Node *>(node); },
    zero,  // required
    [](const Operator *, std::size_t index) { return index == 0 ? 0 : 1; },  // the mask is optional
    zero,  // in the provider's memory
    one,
    one,
    one,
    one,
    [](const Operator *, const void *const *table, const KernelInfo *info, void **node) -> Status * {
        const Api api{table};
        return api.attempt([&] { *node = new Node(api, info); });
    },
    [](void *node, KernelContext *context) { return static_cast<const Node *>(node)->compute(context); },
    {},
};

}  // namespace
}  // namespace pyengine

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

extern "C" EXPORT pyengine::Status *RegisterCustomOps(pyengine::SessionOptions *options,
                                                      const pyengine::ApiBase *base) {
    using namespace pyengine;
    const Api api{base->get(api_version)};
    // One domain for all sessions, for as long as the process lives.
    static Domain *domain = nullptr;
    if (!domain) {
        Domain *made = nullptr;
        if (Status *status = api.create_domain("pyengine", &made)) return status;
        if (Status *status = api.add_operator(made, &convolution)) return status;
        domain = made;
    }
    return api.add_domain(options, domain);
}
