// The operations between StyleGAN2's convolutions, each in one pass over memory: modulation of the weights;
// filter, noise, bias, leaky ReLU and clamp; the RGB sum. Activations are float16, channels last; the
// arithmetic is float32. `stylegan2.kernels` compiles this for a GPU, and the tests as plain C++, where the
// threads run one after another.
//
// LANES is how many adjacent channels of one pixel a thread processes at once: 8, or 1 where the channel count
// is not a multiple of 8. RUN is how many rows a thread filters. NaNs propagate.

#ifdef __CUDACC__
#define DEVICE __device__ __forceinline__
#define KERNEL extern "C" __global__ void
#define EACH_THREAD(i) if (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < threads)

typedef unsigned short half_bits;

DEVICE float wide(half_bits bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}

DEVICE half_bits narrow(float x) {
    half_bits bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
#else
#include <cmath>
#define DEVICE static inline
#define KERNEL extern "C" void
#define EACH_THREAD(i) for (unsigned i = 0; i < threads; ++i)

typedef _Float16 half_bits;

DEVICE float wide(half_bits x) { return x; }
DEVICE half_bits narrow(float x) { return static_cast<half_bits>(x); }
DEVICE float rsqrtf(float x) { return 1 / std::sqrt(x); }
#endif

struct alignas(2 * LANES) Pack {
    half_bits lane[LANES];
};

DEVICE float clamped(float x, float limit) { return x > limit ? limit : x < -limit ? -limit : x; }

// gain · x + √2 · offset, leaky ReLU, clamp.
DEVICE half_bits finished(float x, float offset, float gain, float limit) {
    const float sum = gain * x + 1.41421356f * offset;
    return narrow(clamped(sum < 0 ? 0.2f * sum : sum, limit));
}

// 1 / ‖a row of modulated weights‖; its squared norm is scale² · energy + 1e-8.
DEVICE float demodulation(float energy, float scale) { return rsqrtf(scale * scale * energy + 1e-8f); }

// out = weight · style · scale · its row's demodulation · shrink.
// Both [rows, area, columns] or, `turned`, [columns, area, rows], the last innermost; style [columns], energy
// [rows]. One thread per LANES numbers.
KERNEL modulate(unsigned threads, const Pack *weight, const float *style, const float *energy, Pack *out,
                unsigned rows, unsigned columns, unsigned area, unsigned turned, float scale, float shrink) {
    const unsigned inner = turned ? rows : columns;
    EACH_THREAD(i) {
        const unsigned first = i * LANES, at = first % inner, outer = first / inner / area;
        const Pack given = weight[i];
        Pack result;
        for (unsigned k = 0; k < LANES; ++k) {
            const unsigned row = turned ? at + k : outer, column = turned ? outer : at + k;
            const float modulated = wide(given.lane[k]) * (scale * style[column]);
            result.lane[k] = narrow(modulated * demodulation(energy[row], scale) * shrink);
        }
        out[i] = result;
    }
}

// x [pixels, channels] in place, `finished` with bias + strength · noise; noise [pixels] may be null. One
// thread per LANES numbers.
KERNEL finish(unsigned threads, Pack *x, const float *bias, const float *noise, const float *strength,
              unsigned channels, float gain, float limit) {
    EACH_THREAD(i) {
        const unsigned per_pixel = channels / LANES, pixel = i / per_pixel, channel = i % per_pixel * LANES;
        const float grain = noise ? *strength * noise[pixel] : 0;
        Pack numbers = x[i];
        for (unsigned k = 0; k < LANES; ++k)
            numbers.lane[k] = finished(wide(numbers.lane[k]), bias[channel + k] + grain, gain, limit);
        x[i] = numbers;
    }
}

// x [side + 1, side + 1, channels], padded by one zero, through the 4×4 filter taps·tapsᵀ and then as
// `finish` -> out [side, side, channels]; side is a multiple of RUN. One thread per LANES channels of RUN rows,
// so that it reads each of their rows once.
KERNEL blur_finish(unsigned threads, const Pack *x, const float *taps, const float *bias, const float *noise,
                   const float *strength, Pack *out, unsigned side, unsigned channels, float gain,
                   float limit) {
    EACH_THREAD(i) {
        const unsigned per_pixel = channels / LANES, channel = i % per_pixel;
        const int size = side, column = i / per_pixel % side, top = i / per_pixel / side * RUN;
        const float weights[4] = {taps[0], taps[1], taps[2], taps[3]};
        float sums[RUN][LANES] = {};
#pragma unroll
        for (int y = 0; y < RUN + 3; ++y) {
            const int row = top + y - 1;
            if (row < 0 || row > size) continue;
            float filtered[LANES] = {};
#pragma unroll
            for (int a = 0; a < 4; ++a) {
                const int here = column + a - 1;
                if (here < 0 || here > size) continue;
                const Pack given = x[(row * (size + 1ll) + here) * per_pixel + channel];
                for (int k = 0; k < LANES; ++k) filtered[k] += weights[a] * wide(given.lane[k]);
            }
#pragma unroll
            for (int b = 0; b < 4; ++b)
                if (y - b >= 0 && y - b < RUN)
                    for (int k = 0; k < LANES; ++k) sums[y - b][k] += weights[b] * filtered[k];
        }
        float offsets[LANES];
        for (int k = 0; k < LANES; ++k) offsets[k] = bias[channel * LANES + k];
#pragma unroll
        for (int r = 0; r < RUN; ++r) {
            const long long pixel = (top + r) * (long long)size + column;
            const float grain = noise ? *strength * noise[pixel] : 0;
            Pack result;
            for (int k = 0; k < LANES; ++k)
                result.lane[k] = finished(sums[r][k], offsets[k] + grain, gain, limit);
            out[pixel * per_pixel + channel] = result;
        }
    }
}

// One axis of the 2× bilinear interpolation: the indices of the nearer sample (weight ¾) and the farther (¼).
DEVICE int nearer(int i) { return i / 2; }
DEVICE int farther(int i) { return i / 2 + (i % 2 ? 1 : -1); }

// out [3, side, side] = rgb [side, side, 3] times the divisor of its weights, plus bias, clamped, plus `below`
// [3, side/2, side/2] up-sampled 2× with zero padding (null at 4×4). One thread per number.
KERNEL add_rgb(unsigned threads, const half_bits *rgb, const float *energy, const float *bias,
               const float *below, float *out, unsigned side, float scale, float shrink, float limit) {
    EACH_THREAD(i) {
        const unsigned pixels = side * side, channel = i / pixels, pixel = i % pixels;
        const float norm = 1 / (demodulation(energy[channel], scale) * shrink);
        float sum = clamped(norm * wide(rgb[3 * pixel + channel]) + bias[channel], limit);
        if (below) {
            const int size = side / 2, row = pixel / side, column = pixel % side;
            const float *image = below + channel * (pixels / 4);
            for (int n = 0; n < 4; ++n) {
                const int y = n / 2 ? farther(row) : nearer(row), x = n % 2 ? farther(column) : nearer(column);
                const float share = (n / 2 ? 0.25f : 0.75f) * (n % 2 ? 0.25f : 0.75f);
                if (y >= 0 && y < size && x >= 0 && x < size) sum += share * image[y * size + x];
            }
        }
        out[i] = sum;
    }
}
