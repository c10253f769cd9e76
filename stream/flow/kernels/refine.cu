// Variational refinement of a level's flow, compiled in one piece with dis.cu: what OpenCV's presets `fast` and
// `medium` do after densification. One thread for a pixel.
//
// The increment of the flow that minimises a penalty on grey levels and on their derivatives that change along the
// flow, and on flow that is not smooth (Brox et al., "High Accuracy Optical Flow Estimation Based on a Theory for
// Warping", ECCV 2004). Each of a few fixed-point iterations makes the penalties quadratic around the increment so
// far, which gives one 2x2 equation for each pixel, coupled to its four neighbours; red-black successive
// over-relaxation solves them: pixels of one colour of a chessboard depend only on those of the other.

constexpr float SMOOTHNESS = 20.0f / 2;
constexpr float GREY_LEVELS = 5.0f / 2;
constexpr float DERIVATIVES = 10.0f / 2;
constexpr float RELAXATION = 1.6f;
constexpr float ZETA_2 = 0.1f * 0.1f;
constexpr float PENALTY_EPSILON_2 = 0.01f * 0.01f;

// Working memory of the refinement: float [N, 10, height, width].
enum Plane { MEAN, CHANGE, WEIGHT, A11, A12, A22, B1, B2, DU, DV, PLANES };

// One camera's pixel, with its planes.
struct Pixel {
    float* planes;
    float* flow;
    int height, width, y, x;

    __device__ Pixel(const Level& level, int at) : height(level.height), width(level.width) {
        size_t pixels = size_t(height) * width;
        planes = level.refinement + blockIdx.y * PLANES * pixels;
        flow = level.flow + blockIdx.y * 2 * pixels;
        y = at / width;
        x = at % width;
    }
    __device__ float& at(int plane, int down = 0, int right = 0) const {
        return planes[(size_t(plane) * height + y + down) * width + x + right];
    }
    __device__ float of_flow(int part, int down = 0, int right = 0) const {
        return flow[(size_t(part) * height + y + down) * width + x + right];
    }
    // Central differences, not halved, where the outermost pixel is repeated beyond the border.
    __device__ float dx(int plane, int at_y, int at_x) const {
        const float* row = planes + (size_t(plane) * height + at_y) * width;
        return row[min(at_x + 1, width - 1)] - row[max(at_x - 1, 0)];
    }
    __device__ float dy(int plane, int at_y, int at_x) const {
        const float* column = planes + size_t(plane) * height * width + at_x;
        return column[min(at_y + 1, height - 1) * width] - column[max(at_y - 1, 0) * width];
    }
    __device__ int left() const { return max(x - 1, 0); }
    __device__ int right() const { return min(x + 1, width - 1); }
    __device__ int above() const { return max(y - 1, 0); }
    __device__ int below() const { return min(y + 1, height - 1); }
};

__device__ inline int pixel_number() { return blockIdx.x * blockDim.x + threadIdx.x; }

// The later picture warped back by the flow: its mean with the earlier one, and the change. The increment is zero.
extern "C" __global__ void warp(Level level, int) {
    if (pixel_number() >= level.height * level.width) return;
    Pixel pixel(level, pixel_number());
    size_t first = size_t(blockIdx.y) * level.height * level.width;
    const uint8* later = level.picture[1] + first;
    float at_y = pixel.y + pixel.of_flow(1), at_x = pixel.x + pixel.of_flow(0);
    float whole_y = floorf(at_y), whole_x = floorf(at_x);
    float lower = at_y - whole_y, right = at_x - whole_x;
    int top = clamp(int(whole_y), 0, level.height - 1), bottom = clamp(int(whole_y) + 1, 0, level.height - 1);
    int x0 = clamp(int(whole_x), 0, level.width - 1), x1 = clamp(int(whole_x) + 1, 0, level.width - 1);
    float upper_row = later[top * level.width + x0] * (1 - right) + later[top * level.width + x1] * right;
    float lower_row = later[bottom * level.width + x0] * (1 - right) + later[bottom * level.width + x1] * right;
    float warped = upper_row * (1 - lower) + lower_row * lower, earlier = level.picture[0][first + pixel_number()];
    pixel.at(MEAN) = earlier * 0.5f + warped * 0.5f;
    pixel.at(CHANGE) = warped - earlier;
    pixel.at(DU) = pixel.at(DV) = 0;
}

// Weight of the smoothness between a pixel and those to its right and below it.
extern "C" __global__ void weigh(Level level, int) {
    if (pixel_number() >= level.height * level.width) return;
    Pixel pixel(level, pixel_number());
    int right = pixel.right() - pixel.x, down = pixel.below() - pixel.y;
    float sum = PENALTY_EPSILON_2;
    for (int part = 0; part < 2; part++) {
        float here = pixel.of_flow(part) + pixel.at(DU + part);
        float across = pixel.of_flow(part, 0, right) + pixel.at(DU + part, 0, right) - here;
        float along = pixel.of_flow(part, down, 0) + pixel.at(DU + part, down, 0) - here;
        sum += across * across + along * along;
    }
    pixel.at(WEIGHT) = SMOOTHNESS / sqrtf(sum);
}

// The equation of each pixel: what becomes of the penalties around the increment so far.
extern "C" __global__ void assemble(Level level, int) {
    if (pixel_number() >= level.height * level.width) return;
    Pixel pixel(level, pixel_number());
    int y = pixel.y, x = pixel.x;
    float du = pixel.at(DU), dv = pixel.at(DV);

    float ix = pixel.dx(MEAN, y, x), iy = pixel.dy(MEAN, y, x), iz = pixel.at(CHANGE);
    float norm = ix * ix + iy * iy + ZETA_2, change = iz + ix * du + iy * dv;
    float weight = GREY_LEVELS / sqrtf(change * change / norm + PENALTY_EPSILON_2) / norm;
    float a11 = weight * (ix * ix) + ZETA_2, a12 = weight * (ix * iy), a22 = weight * (iy * iy) + ZETA_2;
    float b1 = -weight * (iz * ix), b2 = -weight * (iz * iy);

    float ixx = pixel.dx(MEAN, y, pixel.right()) - pixel.dx(MEAN, y, pixel.left());
    float ixy = pixel.dx(MEAN, pixel.below(), x) - pixel.dx(MEAN, pixel.above(), x);
    float iyy = pixel.dy(MEAN, pixel.below(), x) - pixel.dy(MEAN, pixel.above(), x);
    float ixz = pixel.dx(CHANGE, y, x), iyz = pixel.dy(CHANGE, y, x);
    float norm_x = ixx * ixx + ixy * ixy + ZETA_2, norm_y = iyy * iyy + ixy * ixy + ZETA_2;
    float change_x = ixz + ixx * du + ixy * dv, change_y = iyz + ixy * du + iyy * dv;
    weight = DERIVATIVES / sqrtf(change_x * change_x / norm_x + change_y * change_y / norm_y + PENALTY_EPSILON_2);
    a11 += weight * (ixx * ixx / norm_x + ixy * ixy / norm_y);
    a12 += weight * (ixx * ixy / norm_x + ixy * iyy / norm_y);
    a22 += weight * (ixy * ixy / norm_x + iyy * iyy / norm_y);
    b1 -= weight * (ixx * ixz / norm_x + ixy * iyz / norm_y);
    b2 -= weight * (ixy * ixz / norm_x + iyy * iyz / norm_y);

    // A pixel's own weight holds to its right and below it; to its left and above it, its neighbour's.
    const int neighbours[4][2] = {{0, 1}, {1, 0}, {0, -1}, {-1, 0}};
    for (int i = 0; i < 4; i++) {
        int down = neighbours[i][0], right = neighbours[i][1];
        if (y + down < 0 || y + down >= level.height || x + right < 0 || x + right >= level.width) continue;
        float smooth = i < 2 ? pixel.at(WEIGHT) : pixel.at(WEIGHT, down, right);
        a11 += smooth;
        a22 += smooth;
        b1 += smooth * (pixel.of_flow(0, down, right) - pixel.of_flow(0));
        b2 += smooth * (pixel.of_flow(1, down, right) - pixel.of_flow(1));
    }
    pixel.at(A11) = a11;
    pixel.at(A12) = a12;
    pixel.at(A22) = a22;
    pixel.at(B1) = b1;
    pixel.at(B2) = b2;
}

// One half of an over-relaxation: the pixels whose coordinates' sum is even (colour 0) or odd (1).
extern "C" __global__ void relax(Level level, int colour) {
    if (pixel_number() >= level.height * level.width) return;
    Pixel pixel(level, pixel_number());
    if ((pixel.y + pixel.x) % 2 != colour) return;
    float sum[2] = {0, 0};
    for (int part = 0; part < 2; part++) {
        if (pixel.x > 0) sum[part] += pixel.at(WEIGHT, 0, -1) * pixel.at(DU + part, 0, -1);
        if (pixel.x < level.width - 1) sum[part] += pixel.at(WEIGHT) * pixel.at(DU + part, 0, 1);
        if (pixel.y > 0) sum[part] += pixel.at(WEIGHT, -1, 0) * pixel.at(DU + part, -1, 0);
        if (pixel.y < level.height - 1) sum[part] += pixel.at(WEIGHT) * pixel.at(DU + part, 1, 0);
    }
    float du = pixel.at(DU), dv = pixel.at(DV);
    du += RELAXATION * ((sum[0] + pixel.at(B1) - dv * pixel.at(A12)) / pixel.at(A11) - du);
    dv += RELAXATION * ((sum[1] + pixel.at(B2) - du * pixel.at(A12)) / pixel.at(A22) - dv);
    pixel.at(DU) = du;
    pixel.at(DV) = dv;
}

// The increment, added to the flow.
extern "C" __global__ void increment(Level level, int) {
    if (pixel_number() >= level.height * level.width) return;
    Pixel pixel(level, pixel_number());
    size_t pixels = size_t(level.height) * level.width;
    pixel.flow[pixel_number()] += pixel.at(DU);
    pixel.flow[pixels + pixel_number()] += pixel.at(DV);
}
