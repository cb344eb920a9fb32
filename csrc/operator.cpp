// The convolution as an operator of ONNX Runtime, `pyengine.Convolution`: inputs x (1, I, H, W), filters (O, I, 3, 3) and
// biases (O,), both constants; attributes `border_y` and `border_x` (what is above and below, and to the left and right;
// 0: x has it, in both; 1: zeros, 2: it wraps round, 3: it is reflected), `relu` (0 or 1), `pool` (0: none, 1: average,
// 2: maximum) and `threads` (how many compute, at most); outputs y (1, O, h, w), where (h, w) is (H, W), or (H - 2, W - 2)
// where x has its border, or half of these, rounded up, after a pool; and if it is asked for, the mask (1, O, ceil(h / 4),
// ceil(w / 4)) of the map before the pool, uint16 (mask.hpp).
//
// ONNX Runtime finds `RegisterCustomOps` in this module when a session's options are told its path. Its C interface is
// a table of functions (OrtApi) and the structure of an operator (OrtCustomOp), both of which only ever grow at their
// ends. No package index has the header, so what is used of it is declared here, by the names of its documentation.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#include "parallel.hpp"
#include "winograd.hpp"

namespace pyengine {
namespace {

struct Status;  // null stands for success
struct SessionOptions;
struct Domain;
struct Value;
struct ShapeInfo;
struct KernelInfo;
struct KernelContext;
struct Operator;

using Table = const void *const *;

struct ApiBase {
    Table (*GetApi)(std::uint32_t version);  // null where there is no such version
    const char *(*GetVersionString)();
};

// ONNX Runtime 1.16 is the first with CreateKernelV2 and KernelComputeV2; its table has the same number.
constexpr int minor_version = 16;
constexpr int failed = 1;  // ORT_FAIL

// The function at one position of the table.
template <class Signature>
class Function {
public:
    Function(Table table, std::size_t position)
        : function_(reinterpret_cast<Signature *>(const_cast<void *>(table[position]))) {
        if (!function_)
            throw std::runtime_error("ONNX Runtime's C interface has no function at position " +
                                     std::to_string(position) + ", which pyengine needs: take another version of it");
    }

    template <class... Arguments>
    auto operator()(Arguments... arguments) const {
        return function_(arguments...);
    }

private:
    Signature *function_;
};

// The functions that are used, each with its position in the table.
struct Api {
    Table table;
    Function<Status *(int code, const char *text)> CreateStatus{table, 0};
    Function<int(const Status *)> GetErrorCode{table, 1};
    Function<const char *(const Status *)> GetErrorMessage{table, 2};
    Function<Status *(const char *name, Domain **)> CreateCustomOpDomain{table, 26};
    Function<Status *(Domain *, const Operator *)> CustomOpDomain_Add{table, 27};
    Function<Status *(SessionOptions *, Domain *)> AddCustomOpDomain{table, 28};
    Function<Status *(const Value *, void **)> GetTensorMutableData{table, 51};
    Function<Status *(const ShapeInfo *, std::size_t *)> GetDimensionsCount{table, 61};
    Function<Status *(const ShapeInfo *, std::int64_t *, std::size_t rank)> GetDimensions{table, 62};
    Function<Status *(const Value *, ShapeInfo **)> GetTensorTypeAndShape{table, 65};
    Function<Status *(const KernelInfo *, const char *name, std::int64_t *)> KernelInfoGetAttribute_int64{table, 86};
    Function<Status *(const KernelContext *, std::size_t index, const Value **)> KernelContext_GetInput{table, 90};
    Function<Status *(KernelContext *, std::size_t index, const std::int64_t *shape, std::size_t rank, Value **)>
        KernelContext_GetOutput{table, 91};
    Function<void(Status *)> ReleaseStatus{table, 93};
    Function<void(ShapeInfo *)> ReleaseTensorTypeAndShapeInfo{table, 99};
    Function<Status *(const KernelInfo *, std::size_t index, int *constant, const Value **)>
        KernelInfoGetConstantInput_tensor{table, 249};

    // Throws what can be seen to be wrong with the table: a status has to come back as it was made.
    void test() const {
        constexpr const char *text = "a test of the interface";
        Status *const made = CreateStatus(failed, text);
        const bool same = made && GetErrorCode(made) == failed && std::strcmp(GetErrorMessage(made), text) == 0;
        if (made) ReleaseStatus(made);
        if (!same)
            throw std::runtime_error(
                "ONNX Runtime's C interface is not laid out as pyengine knows it: take another version of it");
    }

    void check(Status *status) const {
        if (!status) return;
        const std::string text = GetErrorMessage(status);
        ReleaseStatus(status);
        throw std::runtime_error(text);
    }

    // What is thrown does not pass through C: it becomes a status.
    template <class F>
    Status *attempt(const F &function) const {
        try {
            function();
            return nullptr;
        } catch (const std::exception &error) {
            return CreateStatus(failed, error.what());
        }
    }

    template <std::size_t Rank>
    std::array<std::size_t, Rank> shape(const Value *value) const {
        ShapeInfo *info = nullptr;
        check(GetTensorTypeAndShape(value, &info));
        const auto free = [this](ShapeInfo *held) { ReleaseTensorTypeAndShapeInfo(held); };
        const std::unique_ptr<ShapeInfo, decltype(free)> held(info, free);
        std::size_t found = 0;
        check(GetDimensionsCount(info, &found));
        if (found != Rank) throw std::runtime_error("Convolution: an input of " + std::to_string(found) + " dimensions");
        std::array<std::int64_t, Rank> sizes;
        check(GetDimensions(info, sizes.data(), Rank));
        std::array<std::size_t, Rank> result;
        for (std::size_t d = 0; d < Rank; ++d) result[d] = static_cast<std::size_t>(sizes[d]);
        return result;
    }

    template <class T>
    T *pointer(const Value *value) const {
        void *memory = nullptr;
        check(GetTensorMutableData(value, &memory));
        return static_cast<T *>(memory);
    }
};

// A node of a graph.
class Node {
public:
    Node(const Api &api, const KernelInfo *info) : api_(api) {
        const Value *values = constant(info, 1), *biases = constant(info, 2);
        const auto shape = api.shape<4>(values);
        if (shape[2] != 3 || shape[3] != 3 || api.shape<1>(biases)[0] != shape[0])
            throw std::runtime_error("Convolution: the filters have to be (O, I, 3, 3), the biases (O,)");
        const Filters filters{
            .values = api.pointer<const float>(values),
            .biases = api.pointer<const float>(biases),
            .outputs = shape[0],
            .inputs = shape[1],
        };
        const Stage stage{
            .y = static_cast<Border>(attribute(info, "border_y", 3)),
            .x = static_cast<Border>(attribute(info, "border_x", 3)),
            .relu = attribute(info, "relu", 1) != 0,
            .pooling = static_cast<Pooling>(attribute(info, "pool", 2)),
        };
        if ((stage.x == Border::given) != stage.given())
            throw std::runtime_error("Convolution: border_y and border_x have to be both 0, or neither");
        threads_ = static_cast<int>(attribute(info, "threads", 1024));
        convolution_ = std::make_unique<Winograd>(filters, stage);
    }

    Status *compute(KernelContext *context) const {
        return api_.attempt([&] { run(context); });
    }

private:
    void run(KernelContext *context) const {
        const Value *in = nullptr;
        api_.check(api_.KernelContext_GetInput(context, 0, &in));
        const auto shape = api_.shape<4>(in);
        const Stage &stage = convolution_->stage();
        const std::size_t border = stage.given() ? 2 : 0;
        if (shape[0] != 1 || shape[1] != convolution_->inputs() || shape[2] <= border || shape[3] <= border)
            throw std::runtime_error("Convolution: x has to be (1, I, H, W), with the filters' I");
        const std::size_t height = shape[2] - border, width = shape[3] - border;
        const bool pooled = stage.pooling != Pooling::none;
        Value *const out = output(context, 0, pooled ? (height + 1) / 2 : height, pooled ? (width + 1) / 2 : width);
        Value *const mask = output(context, 1, masks(height), masks(width));
        // It runs on the kernels' threads, which all sessions have in common: ONNX Runtime's would be a set for each.
        const Loop loop = [this](std::size_t units, const std::function<void(std::size_t)> &body) {
            parallel_for(units, threads_, [&](std::size_t unit, int) { body(unit); });
        };
        const Maps maps{
            .height = height,
            .width = width,
            .in = api_.pointer<const float>(in),
            .out = api_.pointer<float>(out),
            .mask = mask ? api_.pointer<Mask>(mask) : nullptr,
        };
        convolution_->run(maps, loop);
    }

    // Null where the graph does not ask for it.
    Value *output(KernelContext *context, std::size_t index, std::size_t height, std::size_t width) const {
        const std::int64_t sizes[] = {1, static_cast<std::int64_t>(convolution_->outputs()),
                                      static_cast<std::int64_t>(height), static_cast<std::int64_t>(width)};
        Value *out = nullptr;
        api_.check(api_.KernelContext_GetOutput(context, index, sizes, std::size(sizes), &out));
        return out;
    }

    std::int64_t attribute(const KernelInfo *info, const char *name, std::int64_t most) const {
        std::int64_t value = 0;
        api_.check(api_.KernelInfoGetAttribute_int64(info, name, &value));
        if (value < 0 || value > most)
            throw std::runtime_error(std::string("Convolution: ") + name + " has to be 0 to " + std::to_string(most));
        return value;
    }

    const Value *constant(const KernelInfo *info, std::size_t index) const {
        int constant = 0;
        const Value *value = nullptr;
        api_.check(api_.KernelInfoGetConstantInput_tensor(info, index, &constant, &value));
        if (!constant) throw std::runtime_error("Convolution: filters and biases have to be constants");
        return value;
    }

    Api api_;
    int threads_;
    std::unique_ptr<Winograd> convolution_;
};

// OrtCustomOp, as it was in version 16.
struct Operator {
    std::uint32_t version;
    void *(*CreateKernel)(const Operator *, Table, const KernelInfo *);
    const char *(*GetName)(const Operator *);
    const char *(*GetExecutionProviderType)(const Operator *);
    int (*GetInputType)(const Operator *, std::size_t);
    std::size_t (*GetInputTypeCount)(const Operator *);
    int (*GetOutputType)(const Operator *, std::size_t);
    std::size_t (*GetOutputTypeCount)(const Operator *);
    void (*KernelCompute)(void *, KernelContext *);
    void (*KernelDestroy)(void *);
    int (*GetInputCharacteristic)(const Operator *, std::size_t);
    int (*GetOutputCharacteristic)(const Operator *, std::size_t);
    int (*GetInputMemoryType)(const Operator *, std::size_t);
    int (*GetVariadicInputMinArity)(const Operator *);
    int (*GetVariadicInputHomogeneity)(const Operator *);
    int (*GetVariadicOutputMinArity)(const Operator *);
    int (*GetVariadicOutputHomogeneity)(const Operator *);
    Status *(*CreateKernelV2)(const Operator *, Table, const KernelInfo *, void **);
    Status *(*KernelComputeV2)(void *, KernelContext *);
    void *later[7];  // what versions 17 and 18 added, all of which may be left out
};

constexpr int float32 = 1, uint16 = 4;            // ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT and _UINT16
constexpr int required = 0, optional = 1;         // INPUT_OUTPUT_REQUIRED and _OPTIONAL
constexpr int default_memory = 0;                 // OrtMemTypeDefault
constexpr auto one = [](const Operator *) { return 1; };  // for what only concerns operators of any number of inputs

const Operator convolution = {
    .version = 16,
    .CreateKernel = nullptr,  // CreateKernelV2 takes its place
    .GetName = [](const Operator *) { return "Convolution"; },
    .GetExecutionProviderType = [](const Operator *) -> const char * { return nullptr; },  // null stands for the CPU's
    .GetInputType = [](const Operator *, std::size_t) { return float32; },
    .GetInputTypeCount = [](const Operator *) { return std::size_t{3}; },
    .GetOutputType = [](const Operator *, std::size_t index) { return index == 0 ? float32 : uint16; },
    .GetOutputTypeCount = [](const Operator *) { return std::size_t{2}; },
    .KernelCompute = nullptr,  // KernelComputeV2 takes its place
    .KernelDestroy = [](void *node) { delete static_cast<Node *>(node); },
    .GetInputCharacteristic = [](const Operator *, std::size_t) { return required; },
    .GetOutputCharacteristic = [](const Operator *, std::size_t index) { return index == 0 ? required : optional; },
    .GetInputMemoryType = [](const Operator *, std::size_t) { return default_memory; },
    .GetVariadicInputMinArity = one,
    .GetVariadicInputHomogeneity = one,
    .GetVariadicOutputMinArity = one,
    .GetVariadicOutputHomogeneity = one,
    .CreateKernelV2 = [](const Operator *, Table table, const KernelInfo *info, void **node) -> Status * {
        const Api api{table};  // complete, as was seen at the registration
        return api.attempt([&] { *node = new Node(api, info); });
    },
    .KernelComputeV2 = [](void *node, KernelContext *context) {
        return static_cast<const Node *>(node)->compute(context);
    },
    .later = {},
};

// Our domain with its operator: one for all sessions, for as long as the process lives.
Domain *domain(const Api &api) {
    static Domain *const made = [&] {
        Domain *domain = nullptr;
        api.check(api.CreateCustomOpDomain("pyengine", &domain));
        api.check(api.CustomOpDomain_Add(domain, &convolution));
        return domain;
    }();
    return made;
}

void register_operator(SessionOptions *options, const ApiBase &base) {
    const Table table = base.GetApi(minor_version);
    const std::string version = base.GetVersionString();
    int major = 0, minor = 0;
    if (std::sscanf(version.c_str(), "%d.%d", &major, &minor) != 2 || major < 1 ||
        (major == 1 && minor < minor_version) || !table)
        throw std::runtime_error("pyengine needs ONNX Runtime 1." + std::to_string(minor_version) +
                                 " or later, this is " + version);
    const Api api{table};
    api.test();
    api.check(api.AddCustomOpDomain(options, domain(api)));
}

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
    try {
        register_operator(options, *base);
        return nullptr;
    } catch (const std::exception &error) {
        // Every version of the interface, the first one's table too, begins with the function that makes a status.
        return Function<Status *(int, const char *)>(base->GetApi(1), 0)(failed, error.what());
    }
}
