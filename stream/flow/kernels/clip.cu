// From the small pictures of windows to the network's inputs, for a batch of windows at once: the same as
// stream/clip.py computes on the CPU, to the last bit but for the flow itself. One thread for a pixel; x: pixels;
// y: what of which window, [N, pictures] or [N, flows].

typedef unsigned char uint8;

// Mirrored field for field by stream/device_clip.py.
struct Clip {
    const uint8* window;      // [N, ticks, height * 3 / 2, width]: I420, video range
    const float* scale;       // [N, flows]: a tick's length by the pair's distance in time; 0: the tick was repeated
    const int* picture_ticks; // [pictures]
    const int* flow_ticks;    // [flows]
    uint8* prev;              // [N, flows, height, width]: luma of the flow's tick
    uint8* following;         // [N, flows, height, width]: and of the one after it
    const float* moved;       // [N, flows, 2, height, width]: flow, px
    uint8* picture;           // [N, pictures, height, width, 3]: RGB
    unsigned short* flow;     // [N, flows, 2, height, width]: px a tick, float16 by its bits
    float clip_px;
    int height, width;
    int ticks, pictures, flows;
};

__device__ inline uint8 saturated(int value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

// As OpenCV converts (BT.601), in fixed point with 20 bits after the point.
extern "C" __global__ void make_pictures(Clip clip, int) {
    int at = blockIdx.x * blockDim.x + threadIdx.x, pixels = clip.height * clip.width;
    if (at >= pixels) return;
    int n = blockIdx.y / clip.pictures, tick = clip.picture_ticks[blockIdx.y % clip.pictures];
    const uint8* source = clip.window + size_t(n * clip.ticks + tick) * (pixels * 3 / 2);
    int chroma = pixels + at / clip.width / 2 * (clip.width / 2) + at % clip.width / 2;
    int u = source[chroma] - 128, v = source[chroma + pixels / 4] - 128;
    int y = (source[at] < 16 ? 0 : source[at] - 16) * 1220542 + (1 << 19);
    uint8* target = clip.picture + (size_t(blockIdx.y) * pixels + at) * 3;
    target[0] = saturated((y + 1673527 * v) >> 20);
    target[1] = saturated((y - 852492 * v - 409993 * u) >> 20);
    target[2] = saturated((y + 2116026 * u) >> 20);
}

// The luma that flow is computed between.
extern "C" __global__ void pair_lumas(Clip clip, int) {
    int at = blockIdx.x * blockDim.x + threadIdx.x, pixels = clip.height * clip.width;
    if (at >= pixels) return;
    int n = blockIdx.y / clip.flows, tick = clip.flow_ticks[blockIdx.y % clip.flows];
    const uint8* source = clip.window + size_t(n * clip.ticks + tick) * (pixels * 3 / 2) + at;
    size_t target = size_t(blockIdx.y) * pixels + at;
    clip.prev[target] = source[0];
    clip.following[target] = source[pixels * 3 / 2];
}

// The nearest float16, of two the even one; its bits.
__device__ inline unsigned short half_bits(float value) {
    union { float value; unsigned bits; } x;
    x.value = value;
    unsigned sign = x.bits >> 16 & 0x8000u;
    x.bits &= 0x7fffffffu;
    if (x.bits > 0x7f800000u) return sign | 0x7e00u;   // not a number
    if (x.bits >= 0x477ff000u) return sign | 0x7c00u;  // rounds to 65536 or more: infinite
    if (x.bits < 0x38800000u) {                        // less than 2^-14: the sum rounds to multiples of 2^-24
        x.value += 0.5f;
        return sign | (x.bits - 0x3f000000u);
    }
    return sign | ((x.bits - 0x38000000u + 0xfffu + (x.bits >> 13 & 1u)) >> 13);
}

// Flow per tick, clipped. Where a tick was repeated nothing has moved, by definition.
extern "C" __global__ void scale_flows(Clip clip, int) {
    int at = blockIdx.x * blockDim.x + threadIdx.x, pixels = clip.height * clip.width;
    if (at >= 2 * pixels) return;
    size_t place = size_t(blockIdx.y) * 2 * pixels + at;
    float scale = clip.scale[blockIdx.y], limit = clip.clip_px;
    float value = scale == 0.0f ? 0.0f : clip.moved[place] * scale;
    value = value < -limit ? -limit : value > limit ? limit : value;  // what is not a number stays so, and is seen
    clip.flow[place] = half_bits(value);
}
