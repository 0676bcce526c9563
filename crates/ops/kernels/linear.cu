// What follows the matrix product of a linear layer. Bytes: the result read and written once.
#include "kernel.cuh"

template <typename T>
struct AddRowBias {
    const T* x;
    const Wide<T>* bias;
    T* y;
    unsigned columns;
    unsigned elements;
};

template <typename T>
__device__ void add_row_bias(const AddRowBias<T>& a) {
    const size_t i = thread_index();
    if (i < a.elements) a.y[i] = narrow<T>(wide(a.x[i]) + a.bias[unsigned(i) % a.columns]);
}
EXPORT_INDEPENDENT(add_row_bias, AddRowBias, 256)

KERNELS(linear)
