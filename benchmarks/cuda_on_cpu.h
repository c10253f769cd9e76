// What of CUDA the kernels use, on the CPU. The reference form runs thread after thread; the tiled form in real
// threads, one for each of a block's, that wait for each other at barriers and shuffles as they would on a GPU.
// kernels_on_cpu.py compiles this, the kernels and a function that launches each in one piece.
#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstddef>
#include <deque>
#include <thread>
#include <vector>

using std::max;
using std::min;

#define __global__
#define __device__
#define __shared__
#define __launch_bounds__(threads)

struct dim3 { unsigned x, y, z; };
struct short2 { short x, y; };
struct float2 { float x, y; };

static dim3 blockIdx, blockDim, gridDim;
static thread_local dim3 threadIdx;
float2 shared[48 * 1024 / sizeof(float2)];

static std::barrier<>* everyone;
static std::deque<std::barrier<>> fours;
static std::vector<float> exchanged;

static void __syncthreads() { everyone->arrive_and_wait(); }

// Between four neighbouring threads: all that the kernels ask for.
static float __shfl_xor_sync(unsigned, float value, int bit) {
    std::barrier<>& four = fours[threadIdx.x / 4];
    exchanged[threadIdx.x] = value;
    four.arrive_and_wait();
    float theirs = exchanged[threadIdx.x ^ bit];
    four.arrive_and_wait();
    return theirs;
}

template <class Block>
static void for_blocks(dim3 grid, unsigned threads, Block block) {
    blockDim = {threads, 1, 1};
    gridDim = grid;
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) block();
}

template <class Kernel>
static void run_in_turn(dim3 grid, unsigned threads, Kernel kernel) {
    for_blocks(grid, threads, [&] {
        for (threadIdx = {0, 0, 0}; threadIdx.x < threads; threadIdx.x++) kernel();
    });
}

template <class Kernel>
static void run_at_once(dim3 grid, unsigned threads, Kernel kernel) {
    std::barrier<> all(threads);
    everyone = &all;
    fours.clear();
    for (unsigned four = 0; four * 4 < threads; four++) fours.emplace_back(4);
    exchanged.assign(threads, 0);
    for_blocks(grid, threads, [&] {
        std::fill(std::begin(shared), std::end(shared), float2{NAN, NAN});
        std::vector<std::jthread> running;
        for (unsigned number = 0; number < threads; number++)
            running.emplace_back([&, number] {
                threadIdx = {number, 0, 0};
                kernel();
            });
    });
}

template <class Kernel>
static void launch(const unsigned* grid, unsigned threads, bool at_once, Kernel kernel) {
    dim3 blocks = {grid[0], grid[1], grid[2]};
    at_once ? run_at_once(blocks, threads, kernel) : run_in_turn(blocks, threads, kernel);
}
