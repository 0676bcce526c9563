// Convolutions as matrix products: what goes before and after these.
//
// A window of the grid (of the results of a convolution, or of the inputs of a transposed one) is a column of a matrix, whose
// rows are channels and taps, `channel * kernel area + tap`. Columns go through all images: those of image b begin at
// `b * positions`.
#include "kernel.cuh"
#include "activation.cuh"

template <typename T>
struct Columns {
    const T* x;
    // (all rows, count).
    T* columns;
    unsigned channels;
    unsigned height;
    unsigned width;
    unsigned kernel_height;
    unsigned kernel_width;
    unsigned stride;
    unsigned padding;
    unsigned grid_width;
    // Windows of an image.
    unsigned positions;
    // The columns `start .. start + count` of all.
    unsigned start;
    unsigned count;
    // Of the rows of all inputs together, the first of this one.
    unsigned first_row;
};

// The pixels under each window, zero outside the image. Bytes: each pixel is read once from memory (and for each tap from
// the caches), and written as often as windows hold it: the writes bound it.
template <typename T>
__device__ void columns(const Columns<T>& a) {
    const unsigned column = unsigned(thread_index());
    if (column >= a.count) return;
    const unsigned image = (a.start + column) / a.positions, position = (a.start + column) % a.positions;
    // Wraps around above and left of the image, where it is larger than any size.
    const unsigned top = position / a.grid_width * a.stride - a.padding;
    const unsigned left = position % a.grid_width * a.stride - a.padding;
    const unsigned area = a.kernel_height * a.kernel_width;
    for (unsigned channel = blockIdx.y; channel < a.channels; channel += gridDim.y) {
        const T* plane = a.x + (size_t(image) * a.channels + channel) * a.height * a.width;
        T* out = a.columns + size_t(a.first_row + channel * area) * a.count + column;
        for (unsigned dy = 0; dy < a.kernel_height; ++dy) {
            const unsigned y = top + dy;
            for (unsigned dx = 0; dx < a.kernel_width; ++dx) {
                const unsigned x = left + dx;
                *out = y < a.height && x < a.width ? plane[size_t(y) * a.width + x] : narrow<T>(Wide<T>(0));
                out += a.count;
            }
        }
    }
}
EXPORT_INDEPENDENT(columns, Columns, 256)

template <typename T>
struct Fold {
    // (channels here and taps, images here and positions).
    const T* columns;
    const Wide<T>* bias;
    T* y;
    // Of the result, and those of this launch.
    unsigned all_channels;
    unsigned first_channel;
    unsigned channels;
    unsigned first_image;
    unsigned images;
    unsigned height;
    unsigned width;
    unsigned kernel_height;
    unsigned kernel_width;
    unsigned stride;
    unsigned padding;
    unsigned grid_height;
    unsigned grid_width;
    Ramp ramp;
};

// The adjoint of `columns`: each pixel gathers what the windows that hold it have for it; then bias and activation. Bytes:
// the columns read once, the pixels written once.
template <typename T>
__device__ void fold(const Fold<T>& a) {
    const unsigned pixel = unsigned(thread_index());
    if (pixel >= a.height * a.width) return;
    const unsigned y = pixel / a.width + a.padding, x = pixel % a.width + a.padding;
    const unsigned positions = a.grid_height * a.grid_width, area = a.kernel_height * a.kernel_width;
    const size_t count = size_t(a.images) * positions;
    for (unsigned plane = blockIdx.y; plane < a.images * a.channels; plane += gridDim.y) {
        const unsigned image = plane / a.channels, channel = plane % a.channels;
        const T* columns = a.columns + size_t(channel) * area * count + size_t(image) * positions;
        Wide<T> sum = 0;
        for (unsigned dy = y % a.stride; dy < a.kernel_height && dy <= y; dy += a.stride) {
            const unsigned row = (y - dy) / a.stride;
            if (row >= a.grid_height) continue;
            for (unsigned dx = x % a.stride; dx < a.kernel_width && dx <= x; dx += a.stride) {
                const unsigned column = (x - dx) / a.stride;
                if (column >= a.grid_width) continue;
                sum += wide(columns[(dy * a.kernel_width + dx) * count + row * a.grid_width + column]);
            }
        }
        const unsigned out = a.first_channel + channel;
        T* result = a.y + (size_t(a.first_image + image) * a.all_channels + out) * a.height * a.width;
        result[pixel] = finished<T>(sum, a.bias, out, a.ramp);
    }
}
EXPORT_INDEPENDENT(fold, Fold, 256)

template <typename T>
struct Finish {
    const T* x;
    const Wide<T>* bias;
    T* y;
    unsigned channels;
    unsigned positions;
    unsigned start;
    unsigned count;
    // Whether `x` is laid out as `y` is; else it is (channels, count).
    unsigned is_image;
    Ramp ramp;
};

// Columns `start .. start + count` of a product to images, with bias and activation. Bytes: the product read once, the
// images written once.
template <typename T>
__device__ void finish(const Finish<T>& a) {
    const unsigned column = unsigned(thread_index());
    if (column >= a.count) return;
    const unsigned image = (a.start + column) / a.positions, position = (a.start + column) % a.positions;
    for (unsigned channel = blockIdx.y; channel < a.channels; channel += gridDim.y) {
        const size_t place = (size_t(image) * a.channels + channel) * a.positions + position;
        const T value = a.x[a.is_image ? place : size_t(channel) * a.count + column];
        a.y[place] = finished<T>(wide(value), a.bias, channel, a.ramp);
    }
}
EXPORT_INDEPENDENT(finish, Finish, 256)

KERNELS(conv)
