// What a level needs before it is searched, compiled in one piece with dis.cu: pictures, derivatives, tensors.

// Where a border mirrors the picture without repeating its outermost pixel.
__device__ inline int mirrored(int at, int size) { return at < 0 ? -at : at >= size ? 2 * size - 2 - at : at; }

// How much of source pixel `at` lies within [from, to).
__device__ inline float covered(int at, float from, float to) { return fminf(at + 1.0f, to) - fmaxf(float(at), from); }

// A picture shrunk by area. x: pixels; y: cameras; z: the earlier and the later picture.
extern "C" __global__ void shrink(Level level, int) {
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= level.height * level.width) return;
    int y = at / level.width, x = at % level.width, height = level.source_height, width = level.source_width;
    const uint8* source = level.source[blockIdx.z] + size_t(blockIdx.y) * height * width;
    uint8* target = level.picture[blockIdx.z] + size_t(blockIdx.y) * level.height * level.width;
    if (height % level.height == 0 && width % level.width == 0) {
        int down = height / level.height, across = width / level.width, sum = 0;
        for (int i = 0; i < down; i++)
            for (int j = 0; j < across; j++) sum += source[(y * down + i) * width + x * across + j];
        bool halved = down == 2 && across == 2;
        target[at] = halved ? (sum + 2) >> 2 : uint8(rintf(sum * (1.0f / (down * across))));
        return;
    }
    float down = float(height) / level.height, across = float(width) / level.width;
    float top = y * down, bottom = fminf(top + down, height), left = x * across, right = fminf(left + across, width);
    float sum = 0;
    for (int i = int(top); i < bottom; i++)
        for (int j = int(left); j < right; j++)
            sum += source[i * width + j] * covered(i, top, bottom) * covered(j, left, right);
    target[at] = uint8(rintf(sum / (down * across)));
}

// Sobel derivatives. x: pixels; y: cameras.
extern "C" __global__ void differentiate(Level level, int) {
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    int height = level.height, width = level.width;
    if (at >= height * width) return;
    int y = at / width, x = at % width;
    const uint8* picture = level.picture[0] + size_t(blockIdx.y) * height * width;
    const uint8* above = picture + mirrored(y - 1, height) * width;
    const uint8* here = picture + y * width;
    const uint8* below = picture + mirrored(y + 1, height) * width;
    int left = mirrored(x - 1, width), right = mirrored(x + 1, width);
    short2 gradient;
    gradient.x = short(above[right] - above[left] + 2 * (here[right] - here[left]) + below[right] - below[left]);
    gradient.y = short(below[left] - above[left] + 2 * (below[x] - above[x]) + below[right] - above[right]);
    level.gradient[size_t(blockIdx.y) * height * width + at] = gradient;
}

// The structure tensor of each patch and the sums of its derivatives. x: patches; y: cameras.
extern "C" __global__ void gather_tensor(Level level, int) {
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= level.rows * level.cols) return;
    int y = at / level.cols * level.stride, x = at % level.cols * level.stride;
    const short2* corner = level.gradient + (size_t(blockIdx.y) * level.height + y) * level.width + x;
    int xx = 0, yy = 0, xy = 0, sum_x = 0, sum_y = 0;
#pragma unroll 1
    for (int i = 0; i < PATCH; i++)
        for (int j = 0; j < PATCH; j++) {
            short2 gradient = corner[i * level.width + j];
            xx += gradient.x * gradient.x;
            yy += gradient.y * gradient.y;
            xy += gradient.x * gradient.y;
            sum_x += gradient.x;
            sum_y += gradient.y;
        }
    float* tensor = level.tensor + (size_t(blockIdx.y) * level.rows * level.cols + at) * 5;
    tensor[0] = xx;
    tensor[1] = yy;
    tensor[2] = xy;
    tensor[3] = sum_x;
    tensor[4] = sum_y;
}
