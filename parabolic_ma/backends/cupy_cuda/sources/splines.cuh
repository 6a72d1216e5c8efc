// The gradient map of a quadratic plus a cubic spline, continued outside its box.
//
// A potential is the spline coefficients c of its correction u and its geometry g:
//   d = 1: lower, upper, 1/h, A, c, b, s;
//   d = 2: lower (2), upper (2), 1/h (2), A11, A12, A22, c (2), b (2), s,
// s being a bound of its terms in the box. With P the projection onto the box, or the wrap into a
// periodic one, T(y) = A (y - c) + b + grad u(P y).

// First padded coefficient at node coordinate s of an axis of n coefficients, and the place after.
struct Place {
    int first;
    real t;

    __device__ Place(real s, int n) {
        const real node = fmin(fmax(floor(s), real(-1)), real(n - 5));
        first = int(node) + 1;
        t = s - node;
    }
};

// Weights of four coefficients for the value and two derivatives.
struct Piece {
    real weights[3][4];

    __device__ explicit Piece(real t) {
        const real r = 1 - t;
        weights[0][0] = r * r * r / 6;
        weights[0][1] = real(2.0 / 3.0) - t * t * (1 - real(0.5) * t);
        weights[0][2] = real(2.0 / 3.0) - r * r * (1 - real(0.5) * r);
        weights[0][3] = t * t * t / 6;
        weights[1][0] = real(-0.5) * r * r;
        weights[1][1] = t * (real(1.5) * t - 2);
        weights[1][2] = r * (2 - real(1.5) * r);
        weights[1][3] = real(0.5) * t * t;
        weights[2][0] = r;
        weights[2][1] = 3 * t - 2;
        weights[2][2] = 3 * r - 2;
        weights[2][3] = t;
    }
};

struct Spline1 {
    real value, slope, curvature;

    __device__ Spline1(const real* c, int n, real s, real scale) {
        const Place place(s, n);
        const Piece piece(place.t);
        real sums[3] = {0, 0, 0};
        for (int m = 0; m < 3; ++m) {
            for (int k = 0; k < 4; ++k) sums[m] += piece.weights[m][k] * c[place.first + k];
        }
        value = sums[0];
        slope = scale * sums[1];
        curvature = scale * scale * sums[2];
    }
};

struct Spline2 {
    real value, g0, g1, h00, h01, h11;

    __device__ Spline2(const real* c, int rows, int columns, real s0, real s1, real scale0,
                       real scale1) {
        const Place a(s0, rows), b(s1, columns);
        const Piece x(a.t), y(b.t);
        value = g0 = g1 = h00 = h01 = h11 = 0;
        for (int k = 0; k < 4; ++k) {
            const real* row = c + (a.first + k) * columns + b.first;
            real sums[3] = {0, 0, 0};
            for (int m = 0; m < 3; ++m) {
                for (int l = 0; l < 4; ++l) sums[m] += y.weights[m][l] * row[l];
            }
            value += x.weights[0][k] * sums[0];
            g0 += x.weights[1][k] * sums[0];
            g1 += x.weights[0][k] * sums[1];
            h00 += x.weights[2][k] * sums[0];
            h01 += x.weights[1][k] * sums[1];
            h11 += x.weights[0][k] * sums[2];
        }
        g0 *= scale0;
        g1 *= scale1;
        h00 *= scale0 * scale0;
        h01 *= scale0 * scale1;
        h11 *= scale1 * scale1;
    }
};

// Put one coordinate into the box: wrapped if periodic, otherwise clamped.
__device__ inline real project(real y, real lower, real upper, bool periodic) {
    if (periodic) return y - (upper - lower) * floor((y - lower) / (upper - lower));
    return smaller(larger(y, lower), upper);
}

struct Local1 {
    real psi, t, slope;
};

struct Line {
    const real* c;
    int n;
    const real* g;
    bool periodic;

    __device__ Local1 at(real y) const {
        const real p = project(y, g[0], g[1], periodic);
        const Spline1 u(c, n, (p - g[0]) * g[2] - real(0.5), g[2]);
        const real r = y - g[4];
        const bool inside = periodic || p == y;
        const real beyond = inside ? real(0) : y - p;
        return {(real(0.5) * g[3] * r + g[5]) * r + u.value + u.slope * beyond,
                g[3] * r + g[5] + u.slope, g[3] + (inside ? u.curvature : real(0))};
    }
};

struct Local2 {
    real psi, t0, t1, j00, j01, j10, j11;
};

struct Plane {
    const real* c;
    int rows, columns;
    const real* g;
    bool periodic;

    // Outside the box column k of the Jacobian has no curvature of u where coordinate k is clamped.
    __device__ Local2 at(real y0, real y1) const {
        const real p0 = project(y0, g[0], g[2], periodic), p1 = project(y1, g[1], g[3], periodic);
        const Spline2 u(c, rows, columns, (p0 - g[0]) * g[4] - real(0.5),
                        (p1 - g[1]) * g[5] - real(0.5), g[4], g[5]);
        const real r0 = y0 - g[9], r1 = y1 - g[10];
        const real q0 = g[6] * r0 + g[7] * r1, q1 = g[7] * r0 + g[8] * r1;
        const bool inside0 = periodic || p0 == y0, inside1 = periodic || p1 == y1;
        const real beyond0 = inside0 ? real(0) : y0 - p0, beyond1 = inside1 ? real(0) : y1 - p1;
        return {
            (real(0.5) * q0 + g[11]) * r0 + (real(0.5) * q1 + g[12]) * r1 + u.value +
                u.g0 * beyond0 + u.g1 * beyond1,
            q0 + g[11] + u.g0,
            q1 + g[12] + u.g1,
            g[6] + (inside0 ? u.h00 : real(0)),
            g[7] + (inside1 ? u.h01 : real(0)),
            g[7] + (inside0 ? u.h01 : real(0)),
            g[8] + (inside1 ? u.h11 : real(0)),
        };
    }

    __device__ bool outside(real y0, real y1) const {
        return !periodic && (y0 < g[0] || y0 > g[2] || y1 < g[1] || y1 > g[3]);
    }
};
