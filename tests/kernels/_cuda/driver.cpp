// A CUDA driver without a GPU: it checks what it is called with as the real one does, against cuda.h, and runs kernels
// on the CPU through the thread shim.
//
// Errors can be injected; one that a kernel leaves behind stays, as in a real process. Python calls the functions that
// begin with `gpu_`.
#include <cuda.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace {

struct Function {
    bool (*run)(const void* argument, int blocks, size_t shared);
    size_t argument_bytes;
    unsigned threads, cluster;  // that it is compiled for
    size_t shared = 48 * 1024;  // dynamic shared memory that a launch may ask for
};

struct Gpu {
    int multiprocessors = 0;
    size_t shared = 0;  // that a block may have
    CUstream stream = nullptr;
    std::set<Function*> functions;
    std::map<std::string, std::deque<CUresult>> injected;
    CUresult left_behind = CUDA_SUCCESS;
    std::vector<int> launches;  // for each: blocks, blocks of a cluster, whether it was cooperative
} gpu;

// The error that a call returns at once, if any.
CUresult failure(const char* call) {
    if (gpu.left_behind) return gpu.left_behind;
    auto& errors = gpu.injected[call];
    if (errors.empty()) return CUDA_SUCCESS;
    const CUresult error = errors.front();
    errors.pop_front();
    return error;
}

Function* known(CUfunction handle) {
    auto* function = reinterpret_cast<Function*>(handle);
    return gpu.functions.count(function) ? function : nullptr;
}

int blocks_of_a_multiprocessor(const Function& function, unsigned threads, size_t shared) {
    if (threads == 0 || threads > 1024 || threads > function.threads || shared > function.shared) return 0;
    const size_t by_shared = (gpu.shared + 1024) / (shared + 1024);  // a block reserves 1 KB
    return (int)std::min<size_t>(by_shared, 2048 / threads);
}

struct Attributes {
    unsigned cluster = 1;
    bool cooperative = false;
    CUresult error = CUDA_SUCCESS;
};

Attributes read(const CUlaunchConfig& configuration) {
    Attributes found;
    if (configuration.numAttrs && !configuration.attrs) found.error = CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < configuration.numAttrs && !found.error; ++i) {
        const CUlaunchAttribute& attribute = configuration.attrs[i];
        if (attribute.id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
            const auto& size = attribute.value.clusterDim;
            found.cluster = size.x;
            if (size.x == 0 || size.x > 8 || size.y != 1 || size.z != 1) found.error = CUDA_ERROR_INVALID_CLUSTER_SIZE;
        } else if (attribute.id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) {
            found.cooperative = attribute.value.cooperative;
        } else {
            found.error = CUDA_ERROR_INVALID_VALUE;
        }
    }
    return found;
}

}  // namespace

extern "C" {

CUresult cuGetErrorName(CUresult error, const char** name) {
    static const std::map<CUresult, const char*> names = {
        {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
        {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"},
        {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},
        {CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE"},
        {CUDA_ERROR_INVALID_CLUSTER_SIZE, "CUDA_ERROR_INVALID_CLUSTER_SIZE"},
    };
    const auto found = names.find(error);
    *name = found == names.end() ? nullptr : found->second;
    return found == names.end() ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value) {
    if (const CUresult error = failure("cuFuncSetAttribute")) return error;
    Function* function = known(handle);
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 || (size_t)value > gpu.shared)
        return CUDA_ERROR_INVALID_VALUE;
    function->shared = value;
    return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* count, CUfunction handle, int threads, size_t shared) {
    if (const CUresult error = failure("cuOccupancyMaxActiveBlocksPerMultiprocessor")) return error;
    Function* function = known(handle);
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    *count = blocks_of_a_multiprocessor(*function, threads, shared);
    return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveClusters(int* count, CUfunction handle, const CUlaunchConfig* configuration) {
    if (const CUresult error = failure("cuOccupancyMaxActiveClusters")) return error;
    Function* function = known(handle);
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    const Attributes attributes = read(*configuration);
    if (attributes.error) return attributes.error;
    if (attributes.cooperative || configuration->gridDimX % attributes.cluster) return CUDA_ERROR_INVALID_VALUE;
    const int each =
        blocks_of_a_multiprocessor(*function, configuration->blockDimX, configuration->sharedMemBytes);
    *count = each ? gpu.multiprocessors / (int)attributes.cluster * each : 0;
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* configuration, CUfunction handle, void** arguments, void** extra) {
    if (const CUresult error = failure("cuLaunchKernelEx")) return error;
    Function* function = known(handle);
    if (!function) return CUDA_ERROR_INVALID_HANDLE;
    const CUlaunchConfig& c = *configuration;
    const Attributes attributes = read(c);
    if (attributes.error) return attributes.error;
    if (!c.gridDimX || c.gridDimY != 1 || c.gridDimZ != 1 || c.blockDimY != 1 || c.blockDimZ != 1 || extra ||
        c.hStream != gpu.stream || c.blockDimX != function->threads || c.sharedMemBytes > function->shared ||
        reinterpret_cast<size_t>(arguments[0]) % alignof(double))
        return CUDA_ERROR_INVALID_VALUE;
    if (attributes.cluster != function->cluster || c.gridDimX % attributes.cluster)
        return CUDA_ERROR_INVALID_CLUSTER_SIZE;
    const int each = blocks_of_a_multiprocessor(*function, c.blockDimX, c.sharedMemBytes);
    if (!each) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    const unsigned resident = gpu.multiprocessors / attributes.cluster * attributes.cluster * each;
    if (attributes.cooperative && c.gridDimX > resident) return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
    // The driver copies the argument before it returns.
    std::vector<std::max_align_t> copy(function->argument_bytes / sizeof(std::max_align_t) + 1);
    std::memcpy(copy.data(), arguments[0], function->argument_bytes);
    gpu.launches.insert(gpu.launches.end(), {(int)c.gridDimX, (int)attributes.cluster, (int)attributes.cooperative});
    if (!function->run(copy.data(), c.gridDimX, c.sharedMemBytes)) gpu.left_behind = CUDA_ERROR_ILLEGAL_ADDRESS;
    // A kernel fails after its launch has succeeded.
    if (const CUresult error = failure("kernel")) gpu.left_behind = error;
    return CUDA_SUCCESS;
}

void gpu_start(int multiprocessors, size_t shared, CUstream stream) {
    for (Function* function : gpu.functions) delete function;
    gpu = Gpu();
    gpu.multiprocessors = multiprocessors;
    gpu.shared = shared;
    gpu.stream = stream;
}
Function* gpu_load(bool (*run)(const void*, int, size_t), int argument_bytes, int threads, int cluster) {
    auto* function = new Function{run, (size_t)argument_bytes, (unsigned)threads, (unsigned)cluster};
    gpu.functions.insert(function);
    return function;
}
// Lets the next call of a function, or the next kernel, fail.
void gpu_fail(const char* call, int error) { gpu.injected[call].push_back((CUresult)error); }
int gpu_error() { return gpu.left_behind; }
int gpu_launches(int* numbers) {
    if (numbers) std::copy(gpu.launches.begin(), gpu.launches.end(), numbers);
    return (int)gpu.launches.size() / 3;
}
}
