// The ghost rules. A frame follows from the cells alone, so it can be evaluated where it is read:
// sweeps need no pass of their own for it.

enum Ghosts { EVEN = 0, LINEAR = 1, PERIODIC = 2, QUADRATIC = 3 };

// A place on one axis of n cells, 0 to n - 1, or a ghost beside them, as a combination of cells.
struct Fold {
    int cells[3];
    int shares[3];
    int count;

    __device__ Fold(int k, int n, int mode) {
        const bool inside = k >= 0 && k < n;
        const int edge = inside ? k : k < 0 ? 0 : n - 1;
        const int inward = k < 0 ? 1 : -1;
        for (int m = 0; m < 3; ++m) cells[m] = edge + m * inward;
        count = 1;
        shares[0] = 1;
        if (inside || mode == EVEN) return;
        if (mode == PERIODIC) {
            cells[0] = n - 1 - edge;
        } else if (mode == LINEAR) {
            count = 2;
            shares[0] = 2;
            shares[1] = -1;
        } else {
            count = 3;
            shares[0] = 3;
            shares[1] = -3;
            shares[2] = 1;
        }
    }
};

// Element (i, j) of a padded plane whose cells are cell(1, 1) to cell(nx, ny).
template <typename Cell>
__device__ inline real ghosted(const Cell& cell, int i, int j, int nx, int ny, int mode) {
    const Fold a(i - 1, nx, mode), b(j - 1, ny, mode);
    real total = 0;
#pragma unroll 1
    for (int s = 0; s < a.count; ++s) {
        real line = 0;
#pragma unroll 1
        for (int t = 0; t < b.count; ++t) {
            line += b.shares[t] * cell(a.cells[s] + 1, b.cells[t] + 1);
        }
        total += a.shares[s] * line;
    }
    return total;
}

// Place f of the frame of a padded plane: the two outer rows, then the ends of the others.
__device__ inline int frame_length(int nx, int ny) { return 2 * (nx + ny + 2); }

__device__ inline void frame_place(int f, int nx, int ny, int& i, int& j) {
    const int width = ny + 2;
    if (f < 2 * width) {
        i = f < width ? 0 : nx + 1;
        j = f < width ? f : f - width;
    } else {
        const int g = f - 2 * width;
        i = 1 + g / 2;
        j = g % 2 ? ny + 1 : 0;
    }
}

// A padded array in memory.
template <typename T>
struct Padded {
    const T* values;
    int width;  // of a row, ghosts included

    __device__ T operator()(int i, int j) const { return values[i * width + j]; }
};
