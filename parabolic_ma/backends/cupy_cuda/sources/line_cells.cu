// The conservative equation in one dimension: F(T_right) - F(T_left) = c nu h.

#include "common.cuh"
#include "inner.cuh"
#include "potential.cuh"
#include "line.cuh"
#include "bsplines.cuh"

// Bisection until the two ends are neighbouring numbers.
KERNEL quantiles_1d(const real* sums, const real* geometry, int cells, const real* shares, int n,
                    real* out) {
    const Distribution distribution = {sums, cells, geometry[0], geometry[1]};
    const real first = geometry[0], last = geometry[0] + cells * geometry[1];
    real density;
    const real bottom = distribution(first, density), top = distribution(last, density);
    for (int k = first_index(); k < n; k += index_step()) {
        const real goal = bottom + shares[k] * (top - bottom);
        real left = first, right = last, middle = real(0.5) * (left + right);
        while (left < middle && middle < right) {
            if (distribution(middle, density) < goal) {
                left = middle;
            } else {
                right = middle;
            }
            middle = real(0.5) * (left + right);
        }
        out[k] = middle;
    }
}

KERNEL cell_images_1d(const real* u, const real* axis, const real* quad, int n, const real* sums,
                      const real* geometry, int cells, real* mass, real* length) {
    const LinePotential psi = {u, axis, quad, n};
    const Distribution distribution = {sums, cells, geometry[0], geometry[1]};
    for (int i = first_index(); i < n; i += index_step()) {
        const real left = psi.at_face(i), right = psi.at_face(i + 1);
        real density;
        mass[i] = distribution(right, density) - distribution(left, density);
        length[i] = right - left;
    }
}

// Image, F and density of the n + 1 faces, and the largest density of every block.
KERNEL face_values_1d(const real* u, const real* axis, const real* quad, int n, const real* sums,
                      const real* geometry, int cells, real* faces, int how, double* partial) {
    const LinePotential psi = {u, axis, quad, n};
    const Distribution distribution = {sums, cells, geometry[0], geometry[1]};
    Tally<1> tally(how);
    for (int i = first_index(); i <= n; i += index_step()) {
        real density;
        faces[i] = psi.at_face(i);
        faces[n + 1 + i] = distribution(faces[i], density);
        faces[2 * (n + 1) + i] = density;
        tally.add(0, density);
    }
    tally.reduce(partial + blockIdx.x);
}

KERNEL linearise_cells_1d(const real* faces, const double* top, const real* axis, int n,
                          const real* log_source, real log_c, real dt, real* rows, real* rhs,
                          int how, double* partial) {
    const real h = axis[1] - axis[0];
    const real least = real(1e-14) * real(*top);
    const real *image = faces, *value = faces + n + 1, *density = faces + 2 * (n + 1);
    const real z = 1 / (1 + real(0.5) * h * h / dt);
    Tally<FIGURES> tally(how);
    for (int i = first_index(); i < n; i += index_step()) {
        const real left = larger(density[i], least), right = larger(density[i + 1], least);
        const real mean = real(0.5) * (left + right);
        const real mass = value[i + 1] - value[i];
        const real nu = exp(log_source[i] + log_c);
        rows[i] = z;
        rows[n + i] = real(0.5) * (left - right) / mean * z;
        rows[2 * n + i] = nu * h * h / mean * z;
        rhs[i] = (mass - nu * h) * h / mean * z;
        tally.add(MASS, mass);
        tally.add(TOTAL, double(nu) * h);
        tally.add(CHI, chi_term(mass / h, nu) * h);
        tally.add(LOWEST, (image[i + 1] - image[i]) / h);
        tally.add(EXTENDED, mass <= 0 ? double(nu) * h : 0.0);
        tally.add(WORST, fabs(rhs[i]));
        tally.add(RESIDUAL, residual_term(mass / h, nu) * h);
    }
    tally.reduce(partial + FIGURES * blockIdx.x);
}
