// The inner density m = exp(-f): log m and the gradient of f at points. See the protocol.

enum Kind { GAUSSIAN = 0, MIXTURE = 1, UNIFORM = 2, TABLE = 3 };

#define EXTENSION real(1e-10)  // eigenvalue below which the logarithm is extended linearly

// Logarithm, continued linearly (C1) below delta.
__device__ inline real extended_log(real x, real delta) {
    return x > delta ? log(x) : log(delta) - 1 + x / delta;
}

// The four cubic B-splines that meet at 0 <= t < 1 after a node, and their derivatives.
struct Cubic {
    real weights[4];
    real slopes[4];

    __device__ explicit Cubic(real t) {
        const real s = 1 - t;
        weights[0] = s * s * s / 6;
        weights[1] = (4 - 6 * t * t + 3 * t * t * t) / 6;
        weights[2] = (4 - 6 * s * s + 3 * s * s * s) / 6;
        weights[3] = t * t * t / 6;
        slopes[0] = -s * s / 2;
        slopes[1] = real(1.5) * t * t - 2 * t;
        slopes[2] = 2 * s - real(1.5) * s * s;
        slopes[3] = t * t / 2;
    }
};

// Where a coordinate lies on one axis of a padded table.
struct Location {
    int first;    // of the four coefficients
    real t;       // place after the node
    real excess;  // how far the coordinate is outside the box, with sign

    __device__ Location(real x, real lower, real spacing, int cells, bool periodic) {
        real s = (x - lower) / spacing;
        if (periodic) s -= floor(s / cells) * cells;
        // fmin and fmax send NaN inside, where there is something to index; the excess stays NaN
        const real inside = fmin(fmax(s, real(0)), real(cells));
        first = int(floor(inside + real(0.5)));
        t = inside + real(0.5) - first;
        excess = (s - inside) * spacing;
    }
};

struct InnerValue {
    real logm, f1, f2;
};

struct Inner {
    int kind;
    const real* params;
    int components;
    const real* table;
    int rows, columns;  // of the table

    __device__ InnerValue operator()(real x1, real x2) const {
        if (kind <= MIXTURE) return gaussians(x1, x2);
        if (kind == UNIFORM) return {params[0], 0, 0};
        return tabulated(x1, x2);
    }

    // One component: its exponent in logm and its potential's gradient.
    __device__ InnerValue component(int k, real x1, real x2) const {
        const real* p = params + 6 * k;
        const real u = x1 - p[1];
        const real v = x2 - p[2];
        const real g1 = p[3] * u + p[4] * v;
        const real g2 = p[4] * u + p[5] * v;
        return {p[0] - real(0.5) * (u * g1 + v * g2), g1, g2};
    }

    __device__ InnerValue gaussians(real x1, real x2) const {
        if (components == 1) return component(0, x1, x2);
        real top = component(0, x1, x2).logm;
        for (int k = 1; k < components; ++k) top = larger(top, component(k, x1, x2).logm);
        real total = 0, f1 = 0, f2 = 0;
        for (int k = 0; k < components; ++k) {
            const InnerValue one = component(k, x1, x2);
            const real weight = exp(one.logm - top);
            total += weight;
            f1 += weight * one.f1;
            f2 += weight * one.f2;
        }
        return {top + log(total), f1 / total, f2 / total};
    }

    __device__ InnerValue tabulated(real x1, real x2) const {
        const real h1 = params[2], h2 = params[3], kappa = params[4];
        const bool periodic = params[5] != 0;
        const Location a(x1, params[0], h1, rows - 4, periodic);
        const Location b(x2, params[1], h2, columns - 4, periodic);
        const Cubic by_row(a.t), by_column(b.t);
        real value = 0, d1 = 0, d2 = 0;
        for (int k = 0; k < 4; ++k) {
            const real* c = table + (a.first + k) * columns + b.first;
            real line = 0, slope = 0;
            for (int l = 0; l < 4; ++l) {
                line += by_column.weights[l] * c[l];
                slope += by_column.slopes[l] * c[l];
            }
            value += by_row.weights[k] * line;
            d1 += by_row.slopes[k] * line;
            d2 += by_row.weights[k] * slope;
        }
        d1 /= h1;
        d2 /= h2;
        const real e1 = a.excess, e2 = b.excess;
        return {value + d1 * e1 + d2 * e2 - real(0.5) * kappa * (e1 * e1 + e2 * e2),
                kappa * e1 - d1, kappa * e2 - d2};
    }
};

// The same on the line.
struct InnerLine {
    int kind;
    const real* params;
    int components;
    const real* table;
    int length;  // of the table

    __device__ InnerValue operator()(real x) const {
        if (kind <= MIXTURE) return gaussians(x);
        if (kind == UNIFORM) return {params[0], 0, 0};
        return tabulated(x);
    }

    __device__ InnerValue component(int k, real x) const {
        const real* p = params + 3 * k;
        const real g = p[2] * (x - p[1]);
        return {p[0] - real(0.5) * (x - p[1]) * g, g, 0};
    }

    __device__ InnerValue gaussians(real x) const {
        real top = component(0, x).logm;
        for (int k = 1; k < components; ++k) top = larger(top, component(k, x).logm);
        real total = 0, f = 0;
        for (int k = 0; k < components; ++k) {
            const InnerValue one = component(k, x);
            const real weight = exp(one.logm - top);
            total += weight;
            f += weight * one.f1;
        }
        return {top + log(total), f / total, 0};
    }

    __device__ InnerValue tabulated(real x) const {
        const real h = params[1], kappa = params[2];
        const Location a(x, params[0], h, length - 4, params[3] != 0);
        const Cubic cubic(a.t);
        real value = 0, slope = 0;
        for (int k = 0; k < 4; ++k) {
            value += cubic.weights[k] * table[a.first + k];
            slope += cubic.slopes[k] * table[a.first + k];
        }
        slope /= h;
        const real e = a.excess;
        return {value + slope * e - real(0.5) * kappa * e * e, kappa * e - slope, 0};
    }
};
