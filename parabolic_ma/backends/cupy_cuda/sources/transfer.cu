// Grid functions between grids of any two sizes on one box.

#include "common.cuh"

// log of the average of exp(value(k)) with weights weight(k), k < n; those of zero weight are left
// out, and nothing under- or overflows.
template <typename Weight, typename Value>
__device__ inline real log_average(int n, const Weight& weight, const Value& value) {
    real top = -INFINITY;
    for (int k = 0; k < n; ++k) {
        if (weight(k) > 0) top = larger(top, value(k));
    }
    real total = 0;
    for (int k = 0; k < n; ++k) {
        if (weight(k) > 0) total += weight(k) * exp(value(k) - top);
    }
    return top + log(total);
}

KERNEL average_log(const real* fine, int ny, real* coarse, const integer* ix, const real* wx,
                   const integer* iy, const real* wy, int mx, int my) {
    for (int n = first_index(); n < mx * my; n += index_step()) {
        const int i = n / my, j = n % my;
        coarse[n] = log_average(
            9, [&](int k) { return wx[3 * i + k / 3] * wy[3 * j + k % 3]; },
            [&](int k) { return fine[(ix[i] + k / 3) * ny + iy[j] + k % 3]; });
    }
}

KERNEL interpolate(const real* coarse, int coarse_width, real* fine, int fine_width,
                   const integer* ix, const real* wx, const integer* iy, const real* wy, int nx,
                   int ny) {
    for (int n = first_index(); n < nx * ny; n += index_step()) {
        const int i = n / ny, j = n % ny;
        real total = 0;
        for (int l = 0; l < 4; ++l) {
            const real* c = coarse + ix[i] * coarse_width + iy[j] + l;
            real line = 0;
            for (int k = 0; k < 4; ++k) line += wx[4 * i + k] * c[k * coarse_width];
            total += wy[4 * j + l] * line;
        }
        fine[i * fine_width + j] = total;
    }
}

KERNEL average_log_1d(const real* fine, real* coarse, const integer* ix, const real* wx, int m) {
    for (int i = first_index(); i < m; i += index_step()) {
        coarse[i] = log_average(
            3, [&](int k) { return wx[3 * i + k]; }, [&](int k) { return fine[ix[i] + k]; });
    }
}

KERNEL interpolate_1d(const real* coarse, real* fine, int step, const integer* ix, const real* wx,
                      int n) {
    for (int i = first_index(); i < n; i += index_step()) {
        real total = 0;
        for (int k = 0; k < 4; ++k) total += wx[4 * i + k] * coarse[ix[i] + k];
        fine[i * step] = total;
    }
}
