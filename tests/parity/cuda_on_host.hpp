// CUDA C++ on the host: what kernel sources use of it, and launches that run the threads of a block
// one after the other. __syncthreads works because a thread that reaches it is parked on a stack of
// its own while the others go on; kernels without it run as plain loops.

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(threads)
#define __shared__ static  // one block runs at a time

using std::ceil, std::exp, std::fabs, std::floor, std::fmax, std::fmin, std::log, std::sqrt;
using std::max, std::min, std::tanh;

struct Index {
    unsigned x = 0, y = 0, z = 0;
};

static Index gridDim, blockDim, blockIdx, threadIdx;

namespace host {

constexpr std::size_t STACK = 1 << 16;

// A stack on which threads run, one after the other until one waits.
struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK]};
    Index thread;
    bool waits = false;
};

static std::vector<std::unique_ptr<Fiber>> pool;
static ucontext_t scheduler;
static Fiber* current;
static const std::function<void()>* body;
static unsigned started, threads;
static bool backwards;

inline Index place(unsigned k, const Index& sizes) {
    return {k % sizes.x, k / sizes.x % sizes.y, k / sizes.x / sizes.y};
}

inline void run_threads() {
    while (started < threads) {
        const unsigned k = started++;
        threadIdx = current->thread = place(backwards ? threads - 1 - k : k, blockDim);
        (*body)();
    }
    current->waits = false;
}

inline void resume(Fiber& fiber) {
    current = &fiber;
    threadIdx = fiber.thread;
    swapcontext(&scheduler, &fiber.context);
}

inline void start(Fiber& fiber) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, run_threads, 0);
    resume(fiber);
}

// Run one block; false if some threads end while others wait, which no device allows.
inline bool run_block() {
    bool sound = true;
    std::vector<Fiber*> waiting, still;
    started = 0;
    while (started < threads) {
        if (waiting.size() == pool.size()) pool.push_back(std::make_unique<Fiber>());
        Fiber& fiber = *pool[waiting.size()];
        start(fiber);
        if (fiber.waits) waiting.push_back(&fiber);
    }
    while (!waiting.empty()) {
        sound = sound && waiting.size() == threads;
        still.clear();
        for (Fiber* fiber : waiting) {
            resume(*fiber);
            if (fiber->waits) still.push_back(fiber);
        }
        waiting.swap(still);
    }
    return sound;
}

inline int run(const int* grid, const int* block, bool reversed, const std::function<void()>& f) {
    gridDim = {unsigned(grid[0]), unsigned(grid[1]), unsigned(grid[2])};
    blockDim = {unsigned(block[0]), unsigned(block[1]), unsigned(block[2])};
    threads = blockDim.x * blockDim.y * blockDim.z;
    body = &f;
    backwards = reversed;
    bool sound = true;
    const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
    for (unsigned b = 0; b < blocks; ++b) {
        blockIdx = place(reversed ? blocks - 1 - b : b, gridDim);
        sound = run_block() && sound;
    }
    return sound ? 0 : 1;
}

// The type of an argument: f, d, i, l; of an array: F, D, I, L.
template <typename T>
constexpr char code() {
    using Plain = std::remove_cv_t<std::remove_pointer_t<T>>;
    constexpr char letter = std::is_same_v<Plain, float>    ? 'f'
                            : std::is_same_v<Plain, double> ? 'd'
                            : std::is_same_v<Plain, int>    ? 'i'
                                                            : 'l';
    return std::is_pointer_v<T> ? letter - 'a' + 'A' : letter;
}

template <typename... A>
const char* signature(void (*)(A...)) {
    static const char letters[] = {code<A>()..., 0};
    return letters;
}

template <typename... A, std::size_t... I>
int launch(void (*kernel)(A...), void** arguments, std::index_sequence<I...>, const int* grid,
           const int* block, int reversed) {
    return run(grid, block, reversed, [&] { kernel(*static_cast<A*>(arguments[I])...); });
}

template <typename... A>
int launch(void (*kernel)(A...), void** arguments, const int* grid, const int* block,
           int reversed) {
    return launch(kernel, arguments, std::index_sequence_for<A...>{}, grid, block, reversed);
}

}  // namespace host

static void __syncthreads() {
    host::Fiber* mine = host::current;
    mine->waits = true;
    swapcontext(&mine->context, &host::scheduler);
}

#define VISIBLE extern "C" __attribute__((visibility("default")))

// What is looked up in the library for every kernel.
#define ENTRY(name)                                                                              \
    VISIBLE int launch_##name(void** arguments, const int* grid, const int* block, int reversed) { \
        return host::launch(name, arguments, grid, block, reversed);                             \
    }                                                                                            \
    VISIBLE const char* signature_##name() { return host::signature(name); }
