// Rows a, d, x, p, q of diagonal 2 and averages over the cells that a coarse one overlaps.

// M v at one cell: `row` points at its first coefficient, the next one `plane` further on, and
// v(i, j) is the neighbour at (i, j) from it.
template <typename Neighbour>
__device__ inline real product(const real* row, int plane, const Neighbour& v) {
    const real north = v(1, 0), south = v(-1, 0), east = v(0, 1), west = v(0, -1);
    const real cross = v(1, 1) - v(1, -1) - v(-1, 1) + v(-1, -1);
    return 2 * v(0, 0) - row[0] * (north + south) - row[plane] * (east + west) -
           row[2 * plane] * cross + row[3 * plane] * (north - south) +
           row[4 * plane] * (east - west);
}

// r - M v at cell (i, j) of a padded array with filled ghosts.
template <typename Values>
__device__ inline real left_over(const real* rows, const real* r, const Values& v, int nx, int ny,
                                 int i, int j) {
    const int k = i * ny + j;
    return r[k] - product(rows + k, nx * ny,
                          [&](int a, int b) { return v(i + 1 + a, j + 1 + b); });
}

// Overlaps of coarse cells with at most three fine ones on each axis.
struct Overlaps {
    const integer* ix;
    const real* wx;
    const integer* iy;
    const real* wy;

    // Average of fine(i, j) over coarse cell (i, j); terms of zero weight may lie outside.
    template <typename Fine>
    __device__ real average(const Fine& fine, int i, int j) const {
        real total = 0;
        for (int k = 0; k < 3; ++k) {
            const real w = wx[3 * i + k];
            if (w == 0) continue;
            real line = 0;
            for (int l = 0; l < 3; ++l) {
                if (wy[3 * j + l] != 0) line += wy[3 * j + l] * fine(ix[i] + k, iy[j] + l);
            }
            total += w * line;
        }
        return total;
    }
};

// A padded fine iterate plus the linear interpolant of a padded coarse correction.
struct Prolonged {
    const real* v;
    int width;
    const real* coarse;
    int coarse_width;
    const integer* ix;
    const real* wx;
    const integer* iy;
    const real* wy;

    __device__ real operator()(int i, int j) const {
        const real* c = coarse + ix[i - 1] * coarse_width + iy[j - 1];
        const real a = wx[i - 1], b = wy[j - 1];
        const real* d = c + coarse_width;
        return v[i * width + j] + a * (b * c[0] + (1 - b) * c[1]) +
               (1 - a) * (b * d[0] + (1 - b) * d[1]);
    }
};
