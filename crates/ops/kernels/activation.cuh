// Activations that are two lines and a cap.
#pragma once

// min(x, cap) where x > 0, else slope · x.
struct Ramp {
    double slope;
    double cap;
};

// NaN stays NaN.
template <typename W>
__device__ __forceinline__ W activated(W x, const Ramp& ramp) {
    const W y = x > 0 ? x : W(ramp.slope) * x;
    return y > W(ramp.cap) ? W(ramp.cap) : y;
}

// A sum of a channel with its bias, if there is one, and the activation.
template <typename T>
__device__ __forceinline__ T finished(Wide<T> value, const Wide<T>* bias, unsigned channel, const Ramp& ramp) {
    if (bias) value += bias[channel];
    return narrow<T>(activated(value, ramp));
}

// The gradient g of the result, times the derivative where the argument, or the result, is y.
template <typename W>
__device__ __forceinline__ W through(W g, W y, const Ramp& ramp) {
    const W below = y > 0 ? g : W(ramp.slope) * g;
    return y >= W(ramp.cap) ? W(0) : below;
}
