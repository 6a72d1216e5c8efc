// Sums that judge a solution. Cells are rows of n, whatever the dimension.

#include "common.cuh"

KERNEL largest_balanced(const real* log_det, const real* log_inner, int cells, int how,
                        double* partial) {
    Tally<1> tally(how);
    for (int k = first_index(); k < cells; k += index_step()) {
        tally.add(0, double(log_inner[k]) + log_det[k]);
    }
    tally.reduce(partial + blockIdx.x);
}

#define MOST_DIMENSIONS 3

// Everything after `top`, the largest log b, which is returned with the rest.
KERNEL judge_sums(const double* top, const real* source, const real* log_det,
                  const real* log_inner, const real* gradient, const real* leading,
                  const real* last, const real* shift, int cells, int n, int dim, int how,
                  double* partial) {
    Tally<7 + MOST_DIMENSIONS> tally(how);
    for (int k = first_index(); k < cells; k += index_step()) {
        const double w = exp(double(source[k]));
        const double log_balanced = double(log_inner[k]) + log_det[k];
        const double balanced = exp(log_balanced - *top);
        const double excess = log_balanced - source[k];
        tally.add(0, w);
        tally.add(1, w * excess);
        tally.add(2, log_balanced);
        tally.add(3, balanced);
        tally.add(4, balanced * excess);
        for (int axis = 0; axis < dim; ++axis) {
            const double x = gradient[k * dim + axis];
            const double y = axis == dim - 1 ? last[k % n] : leading[k / n * (dim - 1) + axis];
            const double off = x - shift[axis];
            tally.add(5, w * square(x - y));
            tally.add(6, w * square(off));
            tally.add(7 + axis, w * off);
        }
    }
    tally.reduce(partial + (7 + MOST_DIMENSIONS) * blockIdx.x);
}

KERNEL residual_sums(const real* source, const real* log_det, const real* log_inner,
                     const real* low, const real* high, const real* u, double constant,
                     double tail, double extension, int cells, int how, double* partial) {
    Tally<5> tally(how);
    for (int k = first_index(); k < cells; k += index_step()) {
        const double w = exp(double(source[k]));
        const double f = double(log_inner[k]) + log_det[k] - source[k] - constant;
        const bool bulk = source[k] >= tail;
        tally.add(0, w * square(2.0 * tanh(0.5 * f)));
        tally.add(1, bulk ? fabs(f) : 0.0);
        tally.add(2, bulk ? double(low[k]) : INFINITY);
        tally.add(3, bulk ? double(high[k]) : -INFINITY);
        tally.add(4, bulk ? w * square(u[k] / larger(double(low[k]), extension)) : 0.0);
    }
    tally.reduce(partial + 5 * blockIdx.x);
}

#define WINDOW 4096  // bins that a block fills

// Masses by log density, by parts of the cells (x) and of the bins (y). A thread owns every
// THREADS-th bin and takes what falls there of the cells that the block has read, in their order.
KERNEL mass_histogram(const real* source, int cells, real lowest, real step, int bins,
                      double* partial) {
    __shared__ double masses[WINDOW];
    __shared__ double mass[THREADS];
    __shared__ int bin[THREADS];
    const int t = threadIdx.x, first = blockIdx.y * WINDOW;
    const int count = min(WINDOW, bins - first);
    for (int b = t; b < count; b += THREADS) masses[b] = 0;
    for (int start = blockIdx.x * THREADS; start < cells; start += gridDim.x * THREADS) {
        const int k = start + t;
        bin[t] = k < cells ? min(int((source[k] - lowest) / step), bins - 1) - first : -1;
        mass[t] = k < cells ? exp(double(source[k])) : 0.0;
        __syncthreads();
        for (int c = 0; c < THREADS; ++c) {
            const int b = bin[c];
            if (b >= 0 && b < count && b % THREADS == t) masses[b] += mass[c];
        }
        __syncthreads();
    }
    for (int b = t; b < count; b += THREADS) partial[blockIdx.x * bins + first + b] = masses[b];
}

KERNEL sum_histograms(const double* partial, int count, int bins, double* out) {
    for (int b = first_index(); b < bins; b += index_step()) {
        double total = 0;
        for (int k = 0; k < count; ++k) total += partial[k * bins + b];
        out[b] = total;
    }
}

// Sum of nu |H^{-1} d|^2, d the difference of two gradients, H the Hessian of the first potential.
KERNEL inverse_change(const real* after, const real* before, const real* source, double h1,
                      double h2, double a11, double a12, double a22, int nx, int ny, int how,
                      double* partial) {
    const int width = ny + 2;
    Tally<1> tally(how);
    for (int k = first_index(); k < nx * ny; k += index_step()) {
        const int place = (k / ny + 1) * width + k % ny + 1;
        const real *c = after + place, *b = before + place;
        const real *s = c - width, *n = c + width;
        const auto moved = [&](int at) { return double(c[at]) - b[at]; };
        const double d1 = (moved(width) - moved(-width)) / (2.0 * h1);
        const double d2 = (moved(1) - moved(-1)) / (2.0 * h2);
        const double h11 = a11 + (double(n[0]) - 2.0 * c[0] + s[0]) / (h1 * h1);
        const double h22 = a22 + (double(c[1]) - 2.0 * c[0] + c[-1]) / (h2 * h2);
        const double h12 = a12 + (double(n[1]) - n[-1] - s[1] + s[-1]) / (4.0 * h1 * h2);
        const double half = 0.5 * (h11 + h22);
        const double radius = sqrt(square(0.5 * (h11 - h22)) + h12 * h12);
        double high = half + radius;
        double low = high > 0.5 * radius ? (h11 * h22 - h12 * h12) / high : half - radius;
        // <d, H d> = low |d_1|^2 + high |d_2|^2 splits d into its parts along the eigenvectors
        const double squared = d1 * d1 + d2 * d2;
        const double bent = h11 * d1 * d1 + 2.0 * h12 * d1 * d2 + h22 * d2 * d2;
        const double gap = high - low > 1e-12 * fabs(high) ? high - low : INFINITY;
        const double along_high = smaller(larger((bent - low * squared) / gap, 0.0), squared);
        const double floor = 1e-4 * fabs(high) + 1e-300;
        low = larger(low, floor);
        high = larger(high, floor);
        tally.add(0, exp(double(source[k])) *
                         ((squared - along_high) / (low * low) + along_high / (high * high)));
    }
    tally.reduce(partial + blockIdx.x);
}
