// Damped Newton iterations that maximise <x, y> - psi(y) of a continued spline potential.

#define MAX_STEPS 100
#define MAX_HALVINGS 40
#define LAST_STEP real(1e-7)  // in cells: Newton squares it, what is left is below rounding
#define UNIT_ROUNDING real(sizeof(real) == 8 ? 1e-14 : 1e-5)
#define MERIT_ROUNDING UNIT_ROUNDING       // of the merit's terms; smaller changes say nothing
#define UNSOLVED (1000 * UNIT_ROUNDING)    // of the equation's terms: a residual, no rounding
#define ARMIJO real(1e-4)
#define CLIP real(1e-4)          // of the larger eigenvalue, where the Hessian is not positive
#define SINGULAR UNIT_ROUNDING   // of the squared trace: below, a determinant is not positive

// Judge a step by the convex merit; by the residual where the merit cannot tell: within its
// rounding, and outside the box, where the map need not be the gradient of the potential.
__device__ inline bool accept(real merit, real trial_merit, real decrease, real rounding,
                              real residual, real trial_residual, bool outside, real step) {
    if (trial_merit <= merit - ARMIJO * step * decrease && decrease > 0) return true;
    if (trial_merit <= merit + rounding && trial_residual < residual) return true;
    return outside && trial_residual < square(1 - ARMIJO * step) * residual;
}

struct Maximum1 {
    real y, value;
};

__device__ inline Maximum1 maximise(const Line& line, real x, real y) {
    const real* g = line.g;
    Local1 here = line.at(y);
    for (int n = 0; n < MAX_STEPS; ++n) {
        const real f = here.t - x;
        const real merit = here.psi - x * y;
        const bool plain = here.slope > SINGULAR * g[3];
        const real slope = plain ? here.slope : larger(fabs(here.slope), CLIP * g[3]);
        const real d = -f / slope;
        if (plain && fabs(d) * g[2] < LAST_STEP) return {y + d, -merit - real(0.5) * f * d};
        const real rounding = MERIT_ROUNDING * (fabs(here.psi) + fabs(x * y) + g[6]);
        real step = 1;
        bool moved = false;
        for (int h = 0; h < MAX_HALVINGS && !moved; ++h) {
            const real trial = y + step * d;
            here = line.at(trial);
            moved = accept(merit, here.psi - x * trial, -f * d, rounding, f * f,
                           square(here.t - x), false, step);
            if (moved) y = trial;
            step *= real(0.5);
        }
        if (!moved) return {y, -merit};
    }
    return {y, x * y - here.psi};
}

struct Direction {
    real d0, d1;
    bool plain;  // whether the Jacobian was used as it is

    // Inside, an indefinite Hessian has its eigenvalues replaced by their absolute values, bounded
    // below; outside, a Jacobian that turns space over is replaced by the quadratic's matrix.
    __device__ Direction(const real* g, bool outside, real f0, real f1, Local2 j) {
        real det = j.j00 * j.j11 - j.j01 * j.j10;
        const real trace = j.j00 + j.j11;
        plain = trace > 0 && det > SINGULAR * trace * trace;
        if (!plain) {
            if (outside) {
                j.j00 = g[6];
                j.j01 = j.j10 = g[7];
                j.j11 = g[8];
            } else {
                const real half = real(0.5) * (j.j00 - j.j11);
                const real radius = sqrt(half * half + j.j01 * j.j01);
                real low = fabs(real(0.5) * trace - radius);
                real high = fabs(real(0.5) * trace + radius);
                const real least = larger(CLIP * larger(low, high), TINY);
                low = larger(low, least);
                high = larger(high, least);
                const real mean = real(0.5) * (low + high);
                const real turn = radius > 0 ? real(0.5) * (high - low) / radius : real(0);
                j.j00 = mean + turn * half;
                j.j11 = mean - turn * half;
                j.j01 *= turn;
                j.j10 = j.j01;
            }
            det = j.j00 * j.j11 - j.j01 * j.j10;
        }
        d0 = -(j.j11 * f0 - j.j01 * f1) / det;
        d1 = -(j.j00 * f1 - j.j10 * f0) / det;
    }
};

struct Maximum2 {
    real y0, y1, value;
    bool converged;  // by a Newton step, and not because nothing better was found
};

__device__ inline Maximum2 maximise(const Plane& plane, real x0, real x1, real y0, real y1) {
    const real* g = plane.g;
    Local2 here = plane.at(y0, y1);
    for (int n = 0; n < MAX_STEPS; ++n) {
        const real f0 = here.t0 - x0, f1 = here.t1 - x1;
        const real merit = here.psi - (x0 * y0 + x1 * y1);
        const bool outside = plane.outside(y0, y1);
        const Direction d(g, outside, f0, f1, here);
        const real slope = f0 * d.d0 + f1 * d.d1;
        if (d.plain && fabs(d.d0) * g[4] + fabs(d.d1) * g[5] < LAST_STEP) {
            return {y0 + d.d0, y1 + d.d1, -merit - real(0.5) * slope, true};
        }
        const real terms = fabs(here.psi) + fabs(x0 * y0) + fabs(x1 * y1) + g[13];
        const real residual = f0 * f0 + f1 * f1;
        real step = 1;
        bool moved = false;
        for (int h = 0; h < MAX_HALVINGS && !moved; ++h) {
            const real z0 = y0 + step * d.d0, z1 = y1 + step * d.d1;
            here = plane.at(z0, z1);
            moved = accept(merit, here.psi - x0 * z0 - x1 * z1, -slope, MERIT_ROUNDING * terms,
                           residual, square(here.t0 - x0) + square(here.t1 - x1),
                           outside || plane.outside(z0, z1), step);
            if (moved) {
                y0 = z0;
                y1 = z1;
            }
            step *= real(0.5);
        }
        if (!moved) return {y0, y1, -merit, false};
    }
    return {y0, y1, x0 * y0 + x1 * y1 - here.psi, false};
}

struct Root {
    real s, r;
    bool found;
};

// The point of a face that the ray to x leaves from. Beyond the face T(y) = T(p) + A[:, axis] r;
// eliminating r leaves one equation for the coordinate s of p along the face, which increases where
// the map keeps its orientation.
__device__ inline Root root_on_face(const Plane& plane, int axis, real face, real x0, real x1) {
    const real* g = plane.g;
    const real normal = axis ? g[8] : g[6], ratio = g[7] / normal;
    const real x_along = axis ? x0 : x1, x_across = axis ? x1 : x0;
    real low = axis ? g[0] : g[1], high = axis ? g[2] : g[3];
    real s = real(0.5) * (low + high), r = 0, change = high - low;
    for (int k = 0; k < 2 + MAX_STEPS; ++k) {
        const real at = k == 0 ? low : k == 1 ? high : s;
        const Local2 here = axis ? plane.at(at, face) : plane.at(face, at);
        const real along = axis ? here.t0 : here.t1, across = axis ? here.t1 : here.t0;
        const real f = (along - x_along) - ratio * (across - x_across);
        r = (x_across - across) / normal;
        if (k < 2) {
            if ((f > 0) == (k == 0) && f != 0) return {s, r, false};
            continue;
        }
        (f > 0 ? high : low) = s;
        // Newton while it stays in the bracket and its steps halve, otherwise bisection
        const real slope = axis ? here.j00 - ratio * here.j10 : here.j11 - ratio * here.j01;
        real step = slope > 0 ? -f / slope : high - low;
        if (!(low <= s + step && s + step <= high && fabs(step) <= real(0.5) * fabs(change))) {
            step = real(0.5) * (low + high) - s;
        }
        if (s + step == s) break;
        s += step;
        change = step;
    }
    return {s, r, true};
}

// Solve the continued map's equation beyond the corners and faces one by one.
__device__ inline bool solve_outside(const Plane& plane, real x0, real x1, real& y0, real& y1) {
    const real* g = plane.g;
    const real det = g[6] * g[8] - g[7] * g[7];
    for (int corner = 0; corner < 4; ++corner) {
        const bool upper0 = corner / 2, upper1 = corner % 2;
        const real p0 = upper0 ? g[2] : g[0], p1 = upper1 ? g[3] : g[1];
        const Local2 here = plane.at(p0, p1);
        const real r0 = (g[8] * (x0 - here.t0) - g[7] * (x1 - here.t1)) / det;
        const real r1 = (g[6] * (x1 - here.t1) - g[7] * (x0 - here.t0)) / det;
        if ((r0 >= 0) == upper0 && (r1 >= 0) == upper1) {
            y0 = p0 + r0;
            y1 = p1 + r1;
            return true;
        }
    }
    for (int axis = 0; axis < 2; ++axis) {
        for (int end = 0; end < 2; ++end) {
            const real face = g[2 * end + axis];
            const Root root = root_on_face(plane, axis, face, x0, x1);
            if (root.found && (root.r >= 0) == (end == 1)) {
                y0 = axis ? root.s : face + root.r;
                y1 = axis ? face + root.r : root.s;
                return true;
            }
        }
    }
    return false;
}
