// Sums over a grid: the Krylov iteration's, norms and means.

#include "common.cuh"
#include "stencil.cuh"

// Reduce `count` rows of `width` numbers to one; one block.
KERNEL combine(const double* partial, int count, int width, int how, double* out) {
    for (int k = 0; k < width; ++k) {
        Tally<1> tally(reduction(how, k));
        for (int b = threadIdx.x; b < count; b += blockDim.x) tally.add(0, partial[b * width + k]);
        tally.reduce(out + k);
    }
}

__device__ inline void add_products(Tally<3>& tally, double w, double r, double weight) {
    tally.add(0, weight * w * w);
    tally.add(1, weight * w * r);
    tally.add(2, weight * r * r);
}

KERNEL dots(const real* w, const real* r, const real* weight, int n, int how, double* partial) {
    Tally<3> tally(how);
    for (int k = first_index(); k < n; k += index_step()) {
        add_products(tally, w[k], r[k], weight[k]);
    }
    tally.reduce(partial + 3 * blockIdx.x);
}

KERNEL matrix_dots(const real* rows, const real* v, const real* r, const real* weight, int nx,
                   int ny, int how, double* partial) {
    const int cells = nx * ny;
    Tally<3> tally(how);
    for (int k = first_index(); k < cells; k += index_step()) {
        const real* here = v + (k / ny + 1) * (ny + 2) + k % ny + 1;
        const real w = -product(rows + k, cells,
                                [&](int i, int j) { return here[i * (ny + 2) + j]; });
        add_products(tally, w, r[k], weight[k]);
    }
    tally.reduce(partial + 3 * blockIdx.x);
}

KERNEL axpy(real alpha, const real* x, real* y, int n) {
    for (int k = first_index(); k < n; k += index_step()) y[k] += alpha * x[k];
}

KERNEL largest(const real* values, int n, int how, double* partial) {
    Tally<1> tally(how);
    for (int k = first_index(); k < n; k += index_step()) tally.add(0, values[k]);
    tally.reduce(partial + blockIdx.x);
}

KERNEL norm_weight(const real* log_source, const double* top, real floor, float* weight, int n) {
    for (int k = first_index(); k < n; k += index_step()) {
        weight[k] = exp(real(0.5) * (log_source[k] - real(*top))) + floor;
    }
}

KERNEL sum_cells(const real* v, int nx, int ny, int how, double* partial) {
    Tally<1> tally(how);
    for (int k = first_index(); k < nx * ny; k += index_step()) {
        tally.add(0, v[(k / ny + 1) * (ny + 2) + k % ny + 1]);
    }
    tally.reduce(partial + blockIdx.x);
}

// out = u + v - mean, u and v padded; `sum` is that of the cells.
template <typename Correction>
__device__ inline void add_centred(const real* u, const Correction* v, const double* sum, int cells,
                                   real* out, int n) {
    const double mean = *sum / cells;
    for (int k = first_index(); k < n; k += index_step()) out[k] = u[k] + (v[k] - mean);
}

KERNEL add_single(const real* u, const float* v, const double* sum, int cells, real* out, int n) {
    add_centred(u, v, sum, cells, out, n);
}

KERNEL add_double(const real* u, const double* v, const double* sum, int cells, real* out, int n) {
    add_centred(u, v, sum, cells, out, n);
}

KERNEL gradient_norm(const real* v, const float* weight, double floor, double h1, double h2, int nx,
                     int ny, int how, double* partial) {
    const int width = ny + 2;
    Tally<1> tally(how);
    for (int k = first_index(); k < nx * ny; k += index_step()) {
        const real* c = v + (k / ny + 1) * width + k % ny + 1;
        const double a = (double(c[width]) - c[-width]) / (2.0 * h1);
        const double b = (double(c[1]) - c[-1]) / (2.0 * h2);
        tally.add(0, (a * a + b * b) * square(weight[k] - floor));
    }
    tally.reduce(partial + blockIdx.x);
}
