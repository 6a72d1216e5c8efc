// The linear multigrid on nine-point rows in two dimensions; everything is of one real type.
//
// Large levels are worked on by one launch a sweep: each reads one iterate and writes another, and
// evaluates the ghosts it needs on the way. Levels of at most SMALL by SMALL cells are worked on by
// one block, with the iterate in shared memory and the steps in registers.

#include "common.cuh"
#include "ghosts.cuh"
#include "stencil.cuh"

KERNEL fill_ghosts(real* v, int nx, int ny, int mode) {
    const Padded<real> cell = {v, ny + 2};
    for (int f = first_index(); f < frame_length(nx, ny); f += index_step()) {
        int i, j;
        frame_place(f, nx, ny, i, j);
        v[i * (ny + 2) + j] = ghosted(cell, i, j, nx, ny, mode);
    }
}

KERNEL residual(const real* rows, const real* r, const real* v, real* out, int nx, int ny) {
    const int i = plane_row(), j = plane_column();
    if (i >= nx || j >= ny) return;
    out[i * ny + j] = left_over(rows, r, Padded<real>{v, ny + 2}, nx, ny, i, j);
}

// ------------------------------------------------------------------ large levels

// One Chebyshev step, step = keep step + gain (r - M v), out = v + step; ghosts of v are not read.
template <typename Values>
__device__ inline void sweep_cell(const Values& v, const real* rows, const real* r, real* step,
                                  real* out, int nx, int ny, int mode, real keep, real gain) {
    const int i = plane_row(), j = plane_column();
    if (i >= nx || j >= ny) return;
    const int k = i * ny + j;
    const auto within = [&](int a, int b) { return v(i + 1 + a, j + 1 + b); };
    const auto at_edge = [&](int a, int b) {
        return ghosted(v, i + 1 + a, j + 1 + b, nx, ny, mode);
    };
    const int cells = nx * ny;
    const bool inner = i > 0 && i < nx - 1 && j > 0 && j < ny - 1;
    real s = inner ? product(rows + k, cells, within) : product(rows + k, cells, at_edge);
    s = gain * (r[k] - s);
    if (keep != 0) s += keep * step[k];  // the first sweep finds nothing in `step`
    step[k] = s;
    out[(i + 1) * (ny + 2) + j + 1] = v(i + 1, j + 1) + s;
}

KERNEL sweep(const real* v, const real* rows, const real* r, real* step, real* out, int nx, int ny,
             int mode, real keep, real gain) {
    sweep_cell(Padded<real>{v, ny + 2}, rows, r, step, out, nx, ny, mode, keep, gain);
}

KERNEL sweep_fresh(const real* r, real* step, real* out, int nx, int ny, real gain) {
    const int i = plane_row(), j = plane_column();
    if (i >= nx || j >= ny) return;
    const real s = gain * r[i * ny + j];
    step[i * ny + j] = s;
    out[(i + 1) * (ny + 2) + j + 1] = s;
}

KERNEL sweep_prolonged(const real* v, const real* coarse, int coarse_width, const integer* ix,
                       const real* wx, const integer* iy, const real* wy, const real* rows,
                       const real* r, real* step, real* out, int nx, int ny, int mode, real keep,
                       real gain) {
    const Prolonged values = {v, ny + 2, coarse, coarse_width, ix, wx, iy, wy};
    sweep_cell(values, rows, r, step, out, nx, ny, mode, keep, gain);
}

KERNEL restrict_residual(const real* rows, const real* r, const real* v, int nx, int ny,
                         real* coarse, const real* scale, const integer* ix, const real* wx,
                         const integer* iy, const real* wy, int mx, int my) {
    const int i = plane_row(), j = plane_column();
    if (i >= mx || j >= my) return;
    const Padded<real> values = {v, ny + 2};
    const auto left = [&](int a, int b) { return left_over(rows, r, values, nx, ny, a, b); };
    const Overlaps overlaps = {ix, wx, iy, wy};
    coarse[i * my + j] = scale[i * my + j] * overlaps.average(left, i, j);
}

// ------------------------------------------------------------------ small levels

#define SMALL 64
#define STEPS ((SMALL * SMALL + SMALL_THREADS - 1) / SMALL_THREADS)

__device__ inline void fill_small(real* v, int nx, int ny, int mode) {
    for (int f = threadIdx.x; f < frame_length(nx, ny); f += SMALL_THREADS) {
        int i, j;
        frame_place(f, nx, ny, i, j);
        v[i * (ny + 2) + j] = ghosted(Padded<real>{v, ny + 2}, i, j, nx, ny, mode);
    }
    __syncthreads();
}

// All sweeps on v, in shared memory with filled ghosts; `damping` holds keep and gain of each.
__device__ inline void smooth_small(real* v, const real* rows, const real* r, int nx, int ny,
                                    int mode, int degree, const real* damping) {
    real step[STEPS];
    const int cells = nx * ny;
    for (int n = 0; n < degree; ++n) {
        const real keep = damping[2 * n], gain = damping[2 * n + 1];
#pragma unroll
        for (int m = 0; m < STEPS; ++m) {
            const int k = threadIdx.x + m * SMALL_THREADS;
            if (k >= cells) break;
            const Padded<real> values = {v, ny + 2};
            const real s = gain * left_over(rows, r, values, nx, ny, k / ny, k % ny);
            step[m] = n > 0 ? keep * step[m] + s : s;
        }
        __syncthreads();
#pragma unroll
        for (int m = 0; m < STEPS; ++m) {
            const int k = threadIdx.x + m * SMALL_THREADS;
            if (k >= cells) break;
            v[(k / ny + 1) * (ny + 2) + k % ny + 1] += step[m];
        }
        __syncthreads();
        fill_small(v, nx, ny, mode);
    }
}

KERNEL __launch_bounds__(SMALL_THREADS)
    down_small(const real* rows, const real* r, const real* v, real* out, int nx, int ny,
               real* coarse, const real* scale, const integer* ix, const real* wx,
               const integer* iy, const real* wy, int mx, int my, int mode, int degree,
               const real* damping, int fresh) {
    __shared__ real shared[(SMALL + 2) * (SMALL + 2)];
    const int padded = (nx + 2) * (ny + 2);
    for (int k = threadIdx.x; k < padded; k += SMALL_THREADS) shared[k] = fresh ? real(0) : v[k];
    __syncthreads();
    smooth_small(shared, rows, r, nx, ny, mode, degree, damping);
    for (int k = threadIdx.x; k < padded; k += SMALL_THREADS) out[k] = shared[k];
    const Padded<real> values = {shared, ny + 2};
    const auto left = [&](int a, int b) { return left_over(rows, r, values, nx, ny, a, b); };
    const Overlaps overlaps = {ix, wx, iy, wy};
    for (int k = threadIdx.x; k < mx * my; k += SMALL_THREADS) {
        coarse[k] = scale[k] * overlaps.average(left, k / my, k % my);
    }
}

KERNEL __launch_bounds__(SMALL_THREADS)
    up_small(const real* v, const real* coarse, int coarse_width, const integer* ix,
             const real* wx, const integer* iy, const real* wy, const real* rows, const real* r,
             real* out, int nx, int ny, int mode, int degree, const real* damping) {
    __shared__ real shared[(SMALL + 2) * (SMALL + 2)];
    const Prolonged values = {v, ny + 2, coarse, coarse_width, ix, wx, iy, wy};
    for (int k = threadIdx.x; k < nx * ny; k += SMALL_THREADS) {
        const int i = k / ny + 1, j = k % ny + 1;
        shared[i * (ny + 2) + j] = values(i, j);
    }
    __syncthreads();
    fill_small(shared, nx, ny, mode);
    smooth_small(shared, rows, r, nx, ny, mode, degree, damping);
    for (int k = threadIdx.x; k < (nx + 2) * (ny + 2); k += SMALL_THREADS) out[k] = shared[k];
}

// ------------------------------------------------------------------ coarse rows

KERNEL coarsen_rows(const real* fine, int nx, int ny, real* coarse, real* scale, const integer* ix,
                    const real* wx, const integer* iy, const real* wy, int mx, int my, real sx,
                    real sy, real peclet) {
    const Overlaps overlaps = {ix, wx, iy, wy};
    for (int k = first_index(); k < mx * my; k += index_step()) {
        real row[5];
        for (int c = 0; c < 5; ++c) {
            const real* plane = fine + c * nx * ny;
            row[c] = overlaps.average([&](int a, int b) { return plane[a * ny + b]; }, k / my,
                                      k % my);
        }
        const real half_sigma = larger(1 - row[0] - row[1], real(0));
        row[3] *= sx;
        row[4] *= sy;
        row[0] = larger(row[0] * (sx * sx), peclet * fabs(row[3]));
        row[1] = larger(row[1] * (sy * sy), peclet * fabs(row[4]));
        row[2] *= sx * sy;
        const real z = 1 / (row[0] + row[1] + half_sigma);
        scale[k] = z;
        for (int c = 0; c < 5; ++c) coarse[c * mx * my + k] = row[c] * z;
    }
}

// Raise the outward drift at the two ends of a line of cells.
__device__ inline void hold_ends(real* drift, const real* diffusion, int last, real most,
                                 real share) {
    drift[0] = smaller(drift[0], -smaller(share * diffusion[0], most));
    drift[last] = larger(drift[last], smaller(share * diffusion[last], most));
}

KERNEL outflow(real* rows, int nx, int ny, real most, real share) {
    const int cells = nx * ny;
    for (int k = first_index(); k < nx + ny; k += index_step()) {
        if (k < ny) {
            hold_ends(rows + 3 * cells + k, rows + k, cells - ny, most, share);
        } else {
            const int row = (k - ny) * ny;
            hold_ends(rows + 4 * cells + row, rows + cells + row, ny - 1, most, share);
        }
    }
}

// ------------------------------------------------------------------ the coarsest level

// The rows as a dense matrix, one thread a row; the last row and column are ones.
KERNEL dense_matrix(const real* rows, int nx, int ny, int mode, double* matrix) {
    const int n = nx * ny, width = n + 1;
    for (int k = first_index(); k <= n; k += index_step()) {
        double* line = matrix + k * width;
        for (int c = 0; c < n; ++c) line[c] = k == n;
        line[n] = k < n;
        if (k == n) continue;
        const real* row = rows + k;
        for (int di = -1; di <= 1; ++di) {
            for (int dj = -1; dj <= 1; ++dj) {
                double entry = -double(row[2 * n]) * di * dj;
                if (di == 0 && dj == 0) entry = 2;
                if (di != 0 && dj == 0) entry = di * double(row[3 * n]) - row[0];
                if (di == 0 && dj != 0) entry = dj * double(row[4 * n]) - row[n];
                const Fold a(k / ny + di, nx, mode), b(k % ny + dj, ny, mode);
                for (int s = 0; s < a.count; ++s) {
                    for (int t = 0; t < b.count; ++t) {
                        line[a.cells[s] * ny + b.cells[t]] += entry * a.shares[s] * b.shares[t];
                    }
                }
            }
        }
    }
}

// Invert a matrix in place by Gauss-Jordan elimination with partial pivoting, in one block.
// `regular` receives 1, or 0 for a singular matrix.
KERNEL invert_dense(double* matrix, integer* pivots, int n, int* regular) {
    __shared__ double size[THREADS];
    __shared__ int place[THREADS];
    const int t = threadIdx.x;
    if (t == 0) *regular = 1;
    for (int k = 0; k < n; ++k) {
        size[t] = -1;
        place[t] = k;
        for (int i = k + t; i < n; i += THREADS) {
            const double candidate = fabs(matrix[i * n + k]);
            if (candidate > size[t]) {
                size[t] = candidate;
                place[t] = i;
            }
        }
        __syncthreads();
        for (int half = THREADS / 2; half > 0; half /= 2) {
            if (t < half && size[t + half] > size[t]) {
                size[t] = size[t + half];
                place[t] = place[t + half];
            }
            __syncthreads();
        }
        const int best = place[0];
        const bool found = size[0] > 1e-300;
        const double inverse = 1.0 / matrix[best * n + k];
        __syncthreads();
        if (!found) {
            if (t == 0) *regular = 0;
            return;
        }
        if (t == 0) pivots[k] = best;
        for (int j = t; j < n; j += THREADS) {
            const double other = matrix[k * n + j];
            matrix[k * n + j] = (j == k ? 1.0 : matrix[best * n + j]) * inverse;
            if (best != k) matrix[best * n + j] = other;
        }
        __syncthreads();
        // one thread a row: it alone reads and writes the row's entry in column k
        for (int i = t; i < n; i += THREADS) {
            if (i == k) continue;
            double* row = matrix + i * n;
            const double factor = row[k];
            row[k] = 0;
            for (int j = 0; j < n; ++j) row[j] -= factor * matrix[k * n + j];
        }
        __syncthreads();
    }
    // rows were exchanged going forward: exchange columns going back
    for (int i = t; i < n; i += THREADS) {
        double* row = matrix + i * n;
        for (int k = n - 1; k >= 0; --k) {
            const int best = pivots[k];
            const double other = row[k];
            row[k] = row[best];
            row[best] = other;
        }
    }
}

// v = inverse r, in one block; the last right-hand side is zero and the last unknown is dropped.
KERNEL solve_dense(const double* inverse, const real* r, real* v, int nx, int ny, int mode) {
    const int n = nx * ny;
    for (int k = threadIdx.x; k < n; k += blockDim.x) {
        double sum = 0;
        for (int j = 0; j < n; ++j) sum += inverse[k * (n + 1) + j] * r[j];
        v[(k / ny + 1) * (ny + 2) + k % ny + 1] = sum;
    }
    __syncthreads();
    const Padded<real> cell = {v, ny + 2};
    for (int f = threadIdx.x; f < frame_length(nx, ny); f += blockDim.x) {
        int i, j;
        frame_place(f, nx, ny, i, j);
        v[i * (ny + 2) + j] = ghosted(cell, i, j, nx, ny, mode);
    }
}
