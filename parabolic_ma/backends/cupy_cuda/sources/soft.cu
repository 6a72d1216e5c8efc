// The soft conjugate along one axis.

#include "common.cuh"

#define TILE 16  // rows, lines and terms that a block holds at one time

// out[r, i] = log sum_j exp(K[i, j] + a[r, j]); a block does TILE rows and TILE lines. The largest
// term is taken out of the sum, which is rescaled whenever a tile brings a larger one.
KERNEL soft_conjugate_rows(const real* log_kernel, const real* rows, real* out, int lines, int n,
                           int count) {
    __shared__ real kernel_tile[TILE][TILE + 1];  // one more: no bank conflicts
    __shared__ real row_tile[TILE][TILE + 1];
    const int x = threadIdx.x, y = threadIdx.y;
    const int line = blockIdx.x * TILE + x, row = blockIdx.y * TILE + y;
    real top = -INFINITY, total = 0;
    for (int first = 0; first < n; first += TILE) {
        const int term = first + x;
        const int other = blockIdx.x * TILE + y;
        kernel_tile[y][x] = other < lines && term < n ? log_kernel[other * n + term] : real(0);
        row_tile[y][x] = row < count && term < n ? rows[row * n + term] : real(-INFINITY);
        __syncthreads();
        real most = top;
        for (int j = 0; j < TILE; ++j) most = larger(most, kernel_tile[x][j] + row_tile[y][j]);
        if (most != -INFINITY) {
            total *= exp(top - most);
            for (int j = 0; j < TILE; ++j) {
                total += exp(kernel_tile[x][j] + row_tile[y][j] - most);
            }
            top = most;
        }
        __syncthreads();
    }
    if (row < count && line < lines) {
        out[row * lines + line] = top == -INFINITY ? top : top + log(total);
    }
}
