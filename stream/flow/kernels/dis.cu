// Dense inverse search on a GPU, for a batch of cameras at once, as OpenCV computes it on a CPU.
//
// The method is that of Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016: on each level
// of a pyramid, from the coarsest on, every patch of a grid is searched by gradient descent from the best of the
// vectors that the level before and its neighbours found; a pixel's flow is the mean over the patches that cover it,
// each weighted by how well it predicts that pixel. A model trained with OpenCV's DIS must see the same flow, so
// the details are OpenCV's: mean-normalised patches of 8 px, a picture shrunk by area and rounded to whole grey
// levels, Sobel derivatives, patches that see their neighbours within one of eight bands of rows, once downwards
// and once upwards. A patch needs its neighbour before it and the one in the row before it, so all patches on one
// anti-diagonal of a band are independent: a wave of them runs at once, and nothing is approximated.
//
// This is the reference form: one thread for a patch or a pixel, no shared memory, no barriers. Compiled for the
// CPU (tests/stream/flow) it is compared with OpenCV. Arithmetic is written in OpenCV's order and compiled without
// contraction to fused multiply-adds, which leaves differences of 1e-6 px. dis_tiled.cu, compiled in one piece with
// this file, is the fast form; pyramid.cu prepares each level, refine.cu is the variational refinement.

typedef unsigned char uint8;

constexpr int PATCH = 8;
constexpr int PATCH_PIXELS = PATCH * PATCH;
constexpr int LANES = 4;  // sums over a patch are kept in four parts: columns 0 and 4, 1 and 5, 2 and 6, 3 and 7
constexpr int BANDS = 8;
constexpr int BORDER = 16;  // positions are rounded as in a picture with a border of so many pixels
constexpr float EPSILON = 0.001f;
constexpr float FAR = 1e10f;

// One level of the pyramid. Mirrored field for field by stream/flow/launches.py.
struct Level {
    uint8* picture[2];        // [N, height, width]: the earlier picture, the later one
    const uint8* source[2];   // [N, source_height, source_width]: what they are shrunk from
    short2* gradient;         // [N, height, width]: Sobel derivatives of the earlier picture, x and y
    float* tensor;            // [N, rows, cols, 5]: sums over each patch: xx, yy, xy, x, y
    float2* sparse;           // [N, rows, cols]: flow of each patch, px
    const float* coarse;      // [N, 2, coarse_height, coarse_width]: flow of the level before; null on the coarsest
    float* flow;              // [N, 2, height, width]
    float* refinement;        // [N, 10, height, width]: working memory of refine.cu
    int height, width;
    int source_height, source_width;
    int coarse_height, coarse_width;
    int rows, cols;           // of the grid of patches
    int stride;               // px from patch to patch
    int descents;             // steps of gradient descent, at most, in each of the two passes
};

__device__ inline int clamp(int value, int low, int high) { return min(max(value, low), high); }

__device__ inline int band_rows(const Level& level) { return (level.rows + BANDS - 1) / BANDS; }

// ---- patch inverse search ------------------------------------------------------------------------------------

// What a thread keeps of a patch while it is searched: a lane's two columns.
struct Lane {
    float value[PATCH][2];
    float dx[PATCH][2];
    float dy[PATCH][2];
};

// Of the difference between a patch and the later picture where the patch has moved to.
struct Sums {
    float difference;
    float square;
    float dx;  // of the difference times the patch's derivative
    float dy;

    __device__ Sums operator+(const Sums& other) const {
        return {difference + other.difference, square + other.square, dx + other.dx, dy + other.dy};
    }
    // The squared distance, after both patches' means are taken off.
    __device__ float distance() const { return square - difference * difference / float(PATCH_PIXELS); }
};

// Where a moved patch begins in the later picture, and the weights of the four pixels around each of its points.
struct Place {
    int y, x;
    float w00, w01, w10, w11;
};

__device__ inline Place place(const Level& level, int y, int x, float2 flow) {
    float at_y = fminf(fmaxf(y + flow.y + BORDER, BORDER - PATCH + 1.0f), BORDER + level.height - 1.0f);
    float at_x = fminf(fmaxf(x + flow.x + BORDER, BORDER - PATCH + 1.0f), BORDER + level.width - 1.0f);
    float whole_y = floorf(at_y), whole_x = floorf(at_x);
    float lower = at_y - whole_y, upper = whole_y + 1 - at_y, right = at_x - whole_x, left = whole_x + 1 - at_x;
    return {int(whole_y) - BORDER, int(whole_x) - BORDER, upper * left, upper * right, lower * left, lower * right};
}

__device__ inline void load_lane(Lane& lane, const Level& level, int camera, int y, int x, int number) {
    for (int i = 0; i < PATCH; i++)
        for (int half = 0; half < 2; half++) {
            size_t at = (size_t(camera) * level.height + y + i) * level.width + x + number + half * LANES;
            short2 gradient = level.gradient[at];
            lane.value[i][half] = level.picture[0][at];
            lane.dx[i][half] = gradient.x;
            lane.dy[i][half] = gradient.y;
        }
}

__device__ inline Sums lane_sums(const Lane& lane, const Level& level, const uint8* later, Place place, int number) {
    int column[2][2];  // of the left half and the right one: the pixel and the one after it
    for (int half = 0; half < 2; half++)
        for (int j = 0; j < 2; j++)
            column[half][j] = clamp(place.x + number + half * LANES + j, 0, level.width - 1);
    float upper[2][2];
    const uint8* row = later + clamp(place.y, 0, level.height - 1) * level.width;
    for (int half = 0; half < 2; half++)
        for (int j = 0; j < 2; j++) upper[half][j] = row[column[half][j]];
    Sums sums = {0, 0, 0, 0};
    for (int i = 0; i < PATCH; i++) {
        row = later + clamp(place.y + i + 1, 0, level.height - 1) * level.width;
        float difference[2];
        for (int half = 0; half < 2; half++) {
            float below = row[column[half][0]], below_right = row[column[half][1]];
            difference[half] = place.w00 * upper[half][0] + place.w01 * upper[half][1] + place.w10 * below +
                               place.w11 * below_right - lane.value[i][half];
            upper[half][0] = below;
            upper[half][1] = below_right;
        }
        sums.dx += difference[0] * lane.dx[i][0] + difference[1] * lane.dx[i][1];
        sums.dy += difference[0] * lane.dy[i][0] + difference[1] * lane.dy[i][1];
        sums.square += difference[0] * difference[0] + difference[1] * difference[1];
        sums.difference += difference[0] + difference[1];
    }
    return sums;
}

// A patch searched by one thread alone, which plays all four lanes.
struct OneThread {
    Lane lanes[LANES];

    __device__ OneThread(const Level& level, int camera, int y, int x) {
        for (int number = 0; number < LANES; number++) load_lane(lanes[number], level, camera, y, x, number);
    }
    __device__ Sums sums(const Level& level, const uint8* later, Place place) const {
        Sums parts[LANES];
#pragma unroll 1
        for (int number = 0; number < LANES; number++)
            parts[number] = lane_sums(lanes[number], level, later, place, number);
        return (parts[0] + parts[2]) + (parts[1] + parts[3]);
    }
};

// Flow of the level before at a pixel of this one, in pixels of this one.
__device__ inline float2 coarse_flow(const Level& level, int camera, int y, int x, float scale) {
    int height = level.coarse_height, width = level.coarse_width;
    float at_y = (y + 0.5f) * (float(height) / level.height) - 0.5f;
    float at_x = (x + 0.5f) * (float(width) / level.width) - 0.5f;
    at_y = fminf(fmaxf(at_y, 0.0f), height - 1.0f);
    at_x = fminf(fmaxf(at_x, 0.0f), width - 1.0f);
    int top = int(at_y), left = int(at_x);
    int bottom = min(top + 1, height - 1), right = min(left + 1, width - 1);
    float lower = at_y - top, beyond = at_x - left;
    float flow[2];
    for (int part = 0; part < 2; part++) {
        const float* plane = level.coarse + (size_t(camera) * 2 + part) * height * width;
        float above = plane[top * width + left] * (1 - beyond) + plane[top * width + right] * beyond;
        float below = plane[bottom * width + left] * (1 - beyond) + plane[bottom * width + right] * beyond;
        flow[part] = (above * (1 - lower) + below * lower) * scale;
    }
    return {flow[0], flow[1]};
}

// What a patch starts from on a level, before it has looked at its neighbours.
__device__ inline float2 first_guess(const Level& level, int camera, int row, int col) {
    if (!level.coarse) return {0, 0};
    return coarse_flow(level, camera, row * level.stride + PATCH / 2, col * level.stride + PATCH / 2, 2);
}

// One patch, searched from the best of its own vector and its neighbours'. Null: no such neighbour.
template <class Searcher>
__device__ inline float2 search(const Level& level, int camera, int row, int col, float2 best, const float2* beside,
                                const float2* before) {
    int y = row * level.stride, x = col * level.stride;
    Searcher patch(level, camera, y, x);
    const uint8* later = level.picture[1] + size_t(camera) * level.height * level.width;
    const float2* neighbours[2] = {beside, before};
    float2 candidate = best;
    Sums sums;
#pragma unroll 1
    for (int i = -1; i < 2; i++) {
        if (i >= 0 && !neighbours[i]) continue;
        if (i >= 0) candidate = *neighbours[i];
        Sums theirs = patch.sums(level, later, place(level, y, x, candidate));
        if (i < 0 || theirs.distance() < sums.distance()) {
            best = candidate;
            sums = theirs;
        }
    }

    const float* tensor = level.tensor + ((size_t(camera) * level.rows + row) * level.cols + col) * 5;
    float determinant = tensor[0] * tensor[1] - tensor[2] * tensor[2];
    if (fabsf(determinant) < EPSILON) determinant = EPSILON;
    float inverse_xx = tensor[1] / determinant, inverse_xy = -tensor[2] / determinant;
    float inverse_yy = tensor[0] / determinant;
    float2 flow = best;
    float least = FAR;
#pragma unroll 1
    for (int step = 0; step < level.descents; step++) {
        if (step > 0) sums = patch.sums(level, later, place(level, y, x, flow));
        float dx = sums.dx - sums.difference * tensor[3] / float(PATCH_PIXELS);
        float dy = sums.dy - sums.difference * tensor[4] / float(PATCH_PIXELS);
        flow.x -= inverse_xx * dx + inverse_xy * dy;
        flow.y -= inverse_xy * dx + inverse_yy * dy;
        float distance = sums.distance();
        if (distance >= least) break;
        least = distance;
    }
    float moved_x = flow.x - best.x, moved_y = flow.y - best.y;
    return moved_x * moved_x + moved_y * moved_y <= PATCH_PIXELS ? flow : best;
}

// The waves of one pass: the anti-diagonals of a band.
__device__ inline int waves(const Level& level) { return level.cols + band_rows(level) - 1; }

// A row's part in a wave. The first `waves` go downwards and to the right, the others upwards and to the left.
template <class Searcher>
__device__ inline void search_row(const Level& level, int camera, int row, int wave, float2* sparse) {
    bool down = wave < waves(level);
    int band = band_rows(level), top = row / band * band, bottom = min(top + band, level.rows) - 1;
    int before = down ? row - top : bottom - row;  // rows of the band that this one waits for
    int passed = (down ? wave : wave - waves(level)) - before;
    if (passed < 0 || passed >= level.cols) return;
    int col = down ? passed : level.cols - 1 - passed, direction = down ? 1 : -1;
    float2* cell = sparse + row * level.cols + col;
    *cell = search<Searcher>(level, camera, row, col, down ? first_guess(level, camera, row, col) : *cell,
                             passed > 0 ? cell - direction : nullptr,
                             before > 0 ? cell - direction * level.cols : nullptr);
}

// One wave. x: rows of patches; y: cameras.
extern "C" __global__ void search_wave(Level level, int wave) {
    int row = blockIdx.x * blockDim.x + threadIdx.x, camera = blockIdx.y;
    if (row >= level.rows) return;
    search_row<OneThread>(level, camera, row, wave, level.sparse + size_t(camera) * level.rows * level.cols);
}

// ---- densification -------------------------------------------------------------------------------------------

// The first and the last row, or column, of the patches that cover a pixel. count: of the grid.
__device__ inline int first_over(int at, int stride, int count) {
    return min(at < PATCH ? 0 : (at - PATCH) / stride + 1, count - 1);
}
__device__ inline int last_over(int at, int stride, int count) { return min(at / stride, count - 1); }

// Flow of one pixel. sparse: of the patch in row `top` and column `left` of the grid, and `pitch` of them to a row.
__device__ inline void densify_pixel(const Level& level, int camera, int y, int x, const float2* sparse, int pitch,
                                     int top, int left) {
    size_t pixels = size_t(level.height) * level.width;
    int here = level.picture[0][camera * pixels + y * level.width + x];
    const uint8* later = level.picture[1] + camera * pixels;
    float sum_x = 0, sum_y = 0, sum = 0;
    int last_row = last_over(y, level.stride, level.rows), last_col = last_over(x, level.stride, level.cols);
    for (int row = first_over(y, level.stride, level.rows); row <= last_row; row++)
        for (int col = first_over(x, level.stride, level.cols); col <= last_col; col++) {
            float2 flow = sparse[(row - top) * pitch + col - left];
            float at_x = fminf(fmaxf(x + flow.x, 0.0f), level.width - 1.0f - EPSILON);
            float at_y = fminf(fmaxf(y + flow.y, 0.0f), level.height - 1.0f - EPSILON);
            int x0 = int(at_x), y0 = int(at_y), x1 = x0 + 1, y1 = y0 + 1;
            float difference = (at_x - x0) * (at_y - y0) * later[y1 * level.width + x1] +
                               (x1 - at_x) * (at_y - y0) * later[y1 * level.width + x0] +
                               (at_x - x0) * (y1 - at_y) * later[y0 * level.width + x1] +
                               (x1 - at_x) * (y1 - at_y) * later[y0 * level.width + x0] - here;
            float weight = 1 / fmaxf(1.0f, fabsf(difference));
            sum_x += weight * flow.x;
            sum_y += weight * flow.y;
            sum += weight;
        }
    float* flow = level.flow + camera * 2 * pixels + y * level.width + x;
    flow[0] = sum_x / sum;
    flow[pixels] = sum_y / sum;
}

// x: pixels; y: cameras.
extern "C" __global__ void densify(Level level, int) {
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= level.height * level.width) return;
    const float2* sparse = level.sparse + size_t(blockIdx.y) * level.rows * level.cols;
    densify_pixel(level, blockIdx.y, at / level.width, at % level.width, sparse, level.cols, 0, 0);
}

// Flow of a coarser level at the size and in the pixels of the picture. x: pixels; y: cameras.
extern "C" __global__ void enlarge(Level level, int scale) {
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= level.height * level.width) return;
    float2 flow = coarse_flow(level, blockIdx.y, at / level.width, at % level.width, scale);
    float* target = level.flow + size_t(blockIdx.y) * 2 * level.height * level.width + at;
    target[0] = flow.x;
    target[level.height * level.width] = flow.y;
}
