// Maximisers of <x, y> - psi(y): on a grid, and of the continued spline, which inverts its map.

#include "common.cuh"
#include "splines.cuh"
#include "maximise.cuh"

// max_j slopes[k] nodes[j] - values[r, j] and its j for every row r, a thread a row: the lower
// convex hull of the row, then one merge of its slopes with `slopes`. Infinite values are left out.
KERNEL conjugate_rows(const real* values, const real* nodes, const real* slopes, int rows, int n,
                      int count, int* hulls, real* best, integer* where) {
    for (int r = first_index(); r < rows; r += index_step()) {
        const real* value = values + r * n;
        int* hull = hulls + r * n;
        int top = -1;
        for (int j = 0; j < n; ++j) {
            const real f = value[j];
            if (!(f < INFINITY)) continue;
            while (top >= 1) {
                const int b = hull[top], a = hull[top - 1];
                const real left = (value[b] - value[a]) * (nodes[j] - nodes[b]);
                if (left < (f - value[b]) * (nodes[b] - nodes[a])) break;
                --top;
            }
            hull[++top] = j;
        }
        int k = 0;
        for (int m = 0; m < count; ++m) {
            if (top < 0) {
                best[r * count + m] = -INFINITY;
                where[r * count + m] = 0;
                continue;
            }
            while (k < top) {
                const int a = hull[k], b = hull[k + 1];
                if ((value[b] - value[a]) / (nodes[b] - nodes[a]) > slopes[m]) break;
                ++k;
            }
            best[r * count + m] = slopes[m] * nodes[hull[k]] - value[hull[k]];
            where[r * count + m] = hull[k];
        }
    }
}

// Improve maximisers and maxima in place; a point keeps what it had when Newton ends lower.
KERNEL polish_1d(const real* c, int n, const real* g, int periodic, const real* x, int count,
                 real* y, real* value) {
    const Line line = {c, n, g, periodic != 0};
    for (int k = first_index(); k < count; k += index_step()) {
        const Maximum1 found = maximise(line, x[k], y[k]);
        if (found.value >= value[k]) {
            y[k] = found.y;
            value[k] = found.value;
        }
    }
}

KERNEL polish_2d(const real* c, int rows, int columns, const real* g, int periodic, const real* x,
                 int count, real* y, real* value) {
    const Plane plane = {c, rows, columns, g, periodic != 0};
    for (int k = first_index(); k < count; k += index_step()) {
        const Maximum2 found = maximise(plane, x[2 * k], x[2 * k + 1], y[2 * k], y[2 * k + 1]);
        if (found.value >= value[k]) {
            y[2 * k] = found.y0;
            y[2 * k + 1] = found.y1;
            value[k] = found.value;
        }
    }
}

// Cell of a uniform table of n nodes and the position in it, clamped to the table.
struct Node {
    int index;
    real place;

    __device__ Node(real x, real lower, real scale, int n) {
        const real s = fmin(fmax((x - lower) * scale, real(0)), real(n - 1));
        index = max(0, min(int(s), n - 2));
        place = s - index;
    }
};

__device__ inline bool is_finite(real x) { return fabs(x) < INFINITY; }

// Solve grad psi(y) = x. `table` has the maximiser and the conjugate at every node; of two starts,
// the best of a cell's corners and the interpolated one, the better one is taken.
KERNEL invert_1d(const real* c, int n, const real* g, int periodic, const real* lower,
                 const real* scale, const real* table, int nodes, const real* x, int count,
                 real* out) {
    const Line line = {c, n, g, periodic != 0};
    const real period = g[1] - g[0];
    for (int k = first_index(); k < count; k += index_step()) {
        real x0 = x[k];
        if (!is_finite(x0)) {
            out[k] = x0 - x0;
            continue;
        }
        real shift = 0;
        if (periodic) {
            shift = period * floor(((x0 - g[5]) / g[3] + g[4] - g[0]) / period);
            x0 -= g[3] * shift;
        }
        const Node node(x0, lower[0], scale[0], nodes);
        const real* row = table + 2 * node.index;
        const real first = lower[0] + node.index / scale[0];
        real best = -INFINITY, y = 0;
        for (int e = 0; e < 2; ++e) {
            const real value = row[2 * e + 1] + (x0 - first - e / scale[0]) * row[2 * e];
            if (value > best) {
                best = value;
                y = row[2 * e];
            }
        }
        const real a = node.place;
        const real z = (1 - a) * row[0] + a * row[2] + (x0 - first - a / scale[0]) / g[3];
        if (x0 * z - line.at(z).psi >= best - MERIT_ROUNDING * fabs(best)) y = z;
        out[k] = maximise(line, x0, y).y + shift;
    }
}

KERNEL invert_2d(const real* c, int rows, int columns, const real* g, int periodic,
                 const real* lower, const real* scale, const real* table, int nodes0, int nodes1,
                 const real* x, int count, real* out) {
    const Plane plane = {c, rows, columns, g, periodic != 0};
    const real det = g[6] * g[8] - g[7] * g[7];
    const real period0 = g[2] - g[0], period1 = g[3] - g[1];
    const real h0 = 1 / scale[0], h1 = 1 / scale[1];
    for (int k = first_index(); k < count; k += index_step()) {
        real x0 = x[2 * k], x1 = x[2 * k + 1];
        if (!(is_finite(x0) && is_finite(x1))) {
            out[2 * k] = out[2 * k + 1] = (x0 - x0) + (x1 - x1);
            continue;
        }
        real shift0 = 0, shift1 = 0;
        if (periodic) {
            const real r0 = x0 - g[11], r1 = x1 - g[12];
            const real z0 = (g[8] * r0 - g[7] * r1) / det + g[9];
            const real z1 = (g[6] * r1 - g[7] * r0) / det + g[10];
            shift0 = period0 * floor((z0 - g[0]) / period0);
            shift1 = period1 * floor((z1 - g[1]) / period1);
            x0 -= g[6] * shift0 + g[7] * shift1;
            x1 -= g[7] * shift0 + g[8] * shift1;
        }
        const Node node0(x0, lower[0], scale[0], nodes0), node1(x1, lower[1], scale[1], nodes1);
        const real a = node0.place, b = node1.place;
        real r0 = x0 - lower[0] - node0.index * h0, r1 = x1 - lower[1] - node1.index * h1;
        real best = -INFINITY, y0 = 0, y1 = 0, z0 = 0, z1 = 0;
        for (int e = 0; e < 4; ++e) {
            const int e0 = e / 2, e1 = e % 2;
            const real* entry = table + 3 * ((node0.index + e0) * nodes1 + node1.index + e1);
            const real value = entry[2] + (r0 - e0 * h0) * entry[0] + (r1 - e1 * h1) * entry[1];
            const real w = (e0 ? a : 1 - a) * (e1 ? b : 1 - b);
            z0 += w * entry[0];
            z1 += w * entry[1];
            if (value > best) {
                best = value;
                y0 = entry[0];
                y1 = entry[1];
            }
        }
        r0 -= a * h0;  // beyond the table, otherwise zero to rounding
        r1 -= b * h1;
        z0 += (g[8] * r0 - g[7] * r1) / det;
        z1 += (g[6] * r1 - g[7] * r0) / det;
        const real value = x0 * z0 + x1 * z1 - plane.at(z0, z1).psi;
        if (value >= best - MERIT_ROUNDING * fabs(best)) {
            y0 = z0;
            y1 = z1;
        }
        const Maximum2 found = maximise(plane, x0, x1, y0, y1);
        y0 = found.y0;
        y1 = found.y1;
        if (!(found.converged || periodic)) {
            // Newton can stick at a kink of the continued map: then go through its pieces
            const Local2 here = plane.at(y0, y1);
            const real residual = fabs(here.t0 - x0) + fabs(here.t1 - x1);
            const real terms = fabs(here.t0) + fabs(here.t1) + fabs(x0) + fabs(x1);
            if (residual > UNSOLVED * terms) solve_outside(plane, x0, x1, y0, y1);
        }
        out[2 * k] = y0 + shift0;
        out[2 * k + 1] = y1 + shift1;
    }
}
