// The fast form of dis.cu, compiled in one piece with it. The arithmetic is the same functions, in the same order:
// what differs is who does it, so the results are equal to the last bit.
//
// A patch is searched by four threads, which keep it in registers, each its two columns, and add up by shuffles.
// A block is a camera: it walks through the waves of both passes in one launch, with the flow of all patches in shared memory
// and a barrier after each wave. Time there is the length of the chain of waves, not the work, up to some hundred
// cameras: benchmarks/flow_model.py.

constexpr int TILE_WIDTH = 32;
constexpr int TILE_HEIGHT = 8;
constexpr int MAX_SEARCHERS = 512;  // of a block: so many have the registers that the search takes

// A patch searched by four neighbouring threads of a warp.
struct FourThreads {
    Lane lane;

    __device__ FourThreads(const Level& level, int camera, int y, int x) {
        load_lane(lane, level, camera, y, x, threadIdx.x % LANES);
    }
    __device__ Sums sums(const Level& level, const uint8* later, Place place) const {
        Sums part = lane_sums(lane, level, later, place, threadIdx.x % LANES);
        part = part + across(part, 2);
        return part + across(part, 1);
    }
    // The same sums of the thread whose number differs in this bit. Four threads always take the same branches.
    __device__ static Sums across(const Sums& part, int bit) {
        unsigned four = 0xFu << (threadIdx.x % 32 / LANES * LANES);
        return {__shfl_xor_sync(four, part.difference, bit), __shfl_xor_sync(four, part.square, bit),
                __shfl_xor_sync(four, part.dx, bit), __shfl_xor_sync(four, part.dy, bit)};
    }
};

// The whole search of a level. x: four threads for each row of patches, one block; y: cameras.
// Shared memory: a float2 for each patch.
extern "C" __global__ void __launch_bounds__(MAX_SEARCHERS) search_tiled(Level level, int) {
    extern __shared__ float2 shared[];
    int row = threadIdx.x / LANES, camera = blockIdx.y, patches = level.rows * level.cols;
    for (int wave = 0; wave < 2 * waves(level); wave++) {
        if (row < level.rows) search_row<FourThreads>(level, camera, row, wave, shared);
        __syncthreads();
    }
    for (int at = threadIdx.x; at < patches; at += blockDim.x) level.sparse[size_t(camera) * patches + at] = shared[at];
}

// Densification of a tile of TILE_WIDTH x TILE_HEIGHT pixels by as many threads, numbered in one dimension.
// x: tiles, row by row; y: cameras. Shared memory: a float2 for each patch that covers any of them.
extern "C" __global__ void densify_tiled(Level level, int) {
    extern __shared__ float2 shared[];
    int tiles = (level.width + TILE_WIDTH - 1) / TILE_WIDTH;
    int tile_y = blockIdx.x / tiles * TILE_HEIGHT, tile_x = blockIdx.x % tiles * TILE_WIDTH;
    int top = first_over(tile_y, level.stride, level.rows), left = first_over(tile_x, level.stride, level.cols);
    int rows = last_over(tile_y + TILE_HEIGHT - 1, level.stride, level.rows) - top + 1;
    int cols = last_over(tile_x + TILE_WIDTH - 1, level.stride, level.cols) - left + 1;
    const float2* sparse = level.sparse + size_t(blockIdx.y) * level.rows * level.cols;
    for (int at = threadIdx.x; at < rows * cols; at += blockDim.x)
        shared[at] = sparse[(top + at / cols) * level.cols + left + at % cols];
    __syncthreads();
    int y = tile_y + threadIdx.x / TILE_WIDTH, x = tile_x + threadIdx.x % TILE_WIDTH;
    if (y < level.height && x < level.width)
        densify_pixel(level, blockIdx.y, y, x, shared, cols, top, left);
}
