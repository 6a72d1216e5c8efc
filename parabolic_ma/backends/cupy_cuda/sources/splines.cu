// Cubic splines through values at cell centres, and the map that is a quadratic plus a spline.

#include "common.cuh"
#include "splines.cuh"

enum Boundary { BOX = 0, WRAPPED = 1, FREE = 2 };

#define WARM_UP 32  // the periodic recursions forget their start as (2 - sqrt 3)^k: 5e-19

// Elements of a line that may not be contiguous.
struct Strided {
    real* values;
    int step;

    __device__ real& operator[](int i) const { return values[i * step]; }
};

// Node whose coefficient stands at node i beyond the ends.
__device__ inline int padding(int i, int n, int boundary) {
    if (boundary == WRAPPED) return ((i % n) + n) % n;
    const int folded = ((i % (2 * n)) + 2 * n) % (2 * n);
    return min(folded, 2 * n - 1 - folded);
}

// The one-sided second difference decides the outer coefficients of a free line.
__device__ inline void filter_free(const Strided& c, const real* pivots, int n) {
    const real value_first = c[2], value_last = c[n + 1];
    const real first = c[2] - (2 * c[2] - 5 * c[3] + 4 * c[4] - c[5]) / 6;
    const real last = c[n + 1] - (2 * c[n + 1] - 5 * c[n] + 4 * c[n - 1] - c[n - 2]) / 6;
    c[2] = first;
    real g = first;
    for (int i = 1; i < n - 1; ++i) {
        g = (6 * c[i + 2] - g) * pivots[i];
        c[i + 2] = g;
    }
    c[n + 1] = last;
    g = last;
    for (int i = n - 2; i > 0; --i) {
        g = c[i + 2] - pivots[i] * g;
        c[i + 2] = g;
    }
    c[1] = 6 * value_first - 4 * c[2] - c[3];
    c[0] = 4 * c[1] - 6 * c[2] + 4 * c[3] - c[4];
    c[n + 2] = 6 * value_last - 4 * c[n + 1] - c[n];
    c[n + 3] = 4 * c[n + 2] - 6 * c[n + 1] + 4 * c[n] - c[n - 1];
}

__device__ inline void filter_closed(const Strided& c, const real* pivots, int n, int boundary) {
    real g = 0;
    if (boundary == WRAPPED) {
        for (int k = -WARM_UP; k < 0; ++k) g = (6 * c[padding(k, n, WRAPPED) + 2] - g) * pivots[0];
    }
    for (int i = 0; i < n; ++i) {
        g = (6 * c[i + 2] - g) * pivots[i];
        c[i + 2] = g;
    }
    g = 0;
    if (boundary == WRAPPED) {
        for (int k = WARM_UP; k > 0; --k) {
            g = c[padding(n - 1 + k, n, WRAPPED) + 2] - pivots[0] * g;
        }
    }
    for (int i = n - 1; i >= 0; --i) {
        g = c[i + 2] - pivots[i] * g;
        c[i + 2] = g;
    }
    for (int k = 0; k < 2; ++k) {
        c[1 - k] = c[padding(-1 - k, n, boundary) + 2];
        c[n + 2 + k] = c[padding(n + k, n, boundary) + 2];
    }
}

// Turn the values 2 to n + 1 of every line into coefficients and fill the padding; a thread a line.
KERNEL prefilter_lines(real* c, int lines, int line_step, int step, int n, int boundary,
                       const real* pivots) {
    for (int k = first_index(); k < lines; k += index_step()) {
        const Strided line = {c + k * line_step, step};
        if (boundary == FREE) {
            filter_free(line, pivots, n);
        } else {
            filter_closed(line, pivots, n, boundary);
        }
    }
}

KERNEL evaluate_1d(const real* c, int n, const real* lower, const real* scale, const real* points,
                   int count, real* value, real* gradient, real* hessian) {
    for (int k = first_index(); k < count; k += index_step()) {
        const Spline1 u(c, n, (points[k] - lower[0]) * scale[0] - real(0.5), scale[0]);
        value[k] = u.value;
        gradient[k] = u.slope;
        hessian[k] = u.curvature;
    }
}

KERNEL evaluate_2d(const real* c, int rows, int columns, const real* lower, const real* scale,
                   const real* points, int count, real* value, real* gradient, real* hessian) {
    for (int k = first_index(); k < count; k += index_step()) {
        const Spline2 u(c, rows, columns, (points[2 * k] - lower[0]) * scale[0] - real(0.5),
                        (points[2 * k + 1] - lower[1]) * scale[1] - real(0.5), scale[0], scale[1]);
        value[k] = u.value;
        gradient[2 * k] = u.g0;
        gradient[2 * k + 1] = u.g1;
        hessian[4 * k] = u.h00;
        hessian[4 * k + 1] = hessian[4 * k + 2] = u.h01;
        hessian[4 * k + 3] = u.h11;
    }
}

// The potential (order 0), its gradient (1) or the Jacobian of that (2) at points.
KERNEL local_1d(const real* c, int n, const real* g, int periodic, int order, const real* points,
                int count, real* out) {
    const Line line = {c, n, g, periodic != 0};
    for (int k = first_index(); k < count; k += index_step()) {
        const Local1 here = line.at(points[k]);
        out[k] = order == 0 ? here.psi : order == 1 ? here.t : here.slope;
    }
}

KERNEL local_2d(const real* c, int rows, int columns, const real* g, int periodic, int order,
                const real* points, int count, real* out) {
    const Plane plane = {c, rows, columns, g, periodic != 0};
    for (int k = first_index(); k < count; k += index_step()) {
        const Local2 here = plane.at(points[2 * k], points[2 * k + 1]);
        if (order == 0) {
            out[k] = here.psi;
        } else if (order == 1) {
            out[2 * k] = here.t0;
            out[2 * k + 1] = here.t1;
        } else {
            out[4 * k] = here.j00;
            out[4 * k + 1] = here.j01;
            out[4 * k + 2] = here.j10;
            out[4 * k + 3] = here.j11;
        }
    }
}
