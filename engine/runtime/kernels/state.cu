// State of recognition streams on the device: one slot per stream, [slots, size] float32 for each state tensor.
// A batch's rows are gathered from their slots before the network runs, and scattered back after it. One thread per
// row and element, grid-stride over elements; blockIdx.y is the row. A slot of -1 pads a batch: it reads zeros and
// writes nothing.

extern "C" {

// rows[row, i] = states[slots[row], i]
__global__ void gather_state(const float* states, const int* slots, float* rows, int size) {
    const int row = blockIdx.y, slot = slots[row];
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x)
        rows[(long long)row * size + i] = slot < 0 ? 0.0f : states[(long long)slot * size + i];
}

// finite[row] = 0 where a value of the row is not finite. The host sets finite to 1 before.
__global__ void check_float(const float* rows, int* finite, int size) {
    const int row = blockIdx.y;
    bool sound = true;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x) {
        union { float value; unsigned bits; } x;
        x.value = rows[(long long)row * size + i];
        sound &= (x.bits & 0x7f800000u) != 0x7f800000u;
    }
    if (!sound) finite[row] = 0;  // every thread that writes writes the same
}

// The same for float16, given by its bits.
__global__ void check_half(const unsigned short* rows, int* finite, int size) {
    const int row = blockIdx.y;
    bool sound = true;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x)
        sound &= (rows[(long long)row * size + i] & 0x7c00u) != 0x7c00u;
    if (!sound) finite[row] = 0;
}

// states[slots[row], i] = rows[row, i], or 0 where the row is not finite
__global__ void scatter_state(float* states, const int* slots, const float* rows, const int* finite, int size) {
    const int row = blockIdx.y, slot = slots[row];
    if (slot < 0) return;
    const bool sound = finite[row] != 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x)
        states[(long long)slot * size + i] = sound ? rows[(long long)row * size + i] : 0.0f;
}

}  // extern "C"
