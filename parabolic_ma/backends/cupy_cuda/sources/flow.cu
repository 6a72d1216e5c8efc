// The flow in time: the rate F = log m(grad psi) + log det Hess psi - log nu and its derivative.

#include "common.cuh"
#include "inner.cuh"
#include "potential.cuh"

enum { LOWEST_EIGENVALUE, DIFFUSION, DRIFT, EXTREMES };

KERNEL flow_rate(const real* u, const real* axis1, const real* axis2, const real* quad, int nx,
                 int ny, const real* log_source, real lowest, int kind, const real* params,
                 int components, const real* table, int table_rows, int table_columns, real* rate,
                 int how, double* partial) {
    const Potential psi = {u, axis1, axis2, quad, ny};
    const Inner inner = {kind, params, components, table, table_rows, table_columns};
    const real h1 = psi.h1(), h2 = psi.h2();
    Tally<EXTREMES> tally(how);
    for (int k = first_index(); k < nx * ny; k += index_step()) {
        const Derivatives d = psi.at(k / ny, k % ny);
        const InnerValue m = inner(d.t1, d.t2);
        const Spectrum s(d);
        rate[k] = m.logm + extended_log(s.low, EXTENSION) + extended_log(s.high, EXTENSION) -
                  log_source[k];
        tally.add(LOWEST_EIGENVALUE, s.low);
        tally.add(DIFFUSION, 2 * (d.h22 / (h1 * h1) + d.h11 / (h2 * h2)) / s.det);
        const real across = m.f1 * m.f1 / larger(d.h22, TINY) + m.f2 * m.f2 / larger(d.h11, TINY);
        const real drift = real(0.5) * s.det * across;
        tally.add(DRIFT, log_source[k] >= lowest ? drift : real(0));
    }
    tally.reduce(partial + EXTREMES * blockIdx.x);
}

KERNEL flow_coefficients(const real* u, const real* axis1, const real* axis2, const real* quad,
                         int nx, int ny, int kind, const real* params, int components,
                         const real* table, int table_rows, int table_columns,
                         real* coefficients) {
    const Potential psi = {u, axis1, axis2, quad, ny};
    const Inner inner = {kind, params, components, table, table_rows, table_columns};
    const real h1 = psi.h1(), h2 = psi.h2();
    const int cells = nx * ny;
    for (int k = first_index(); k < cells; k += index_step()) {
        const Derivatives d = psi.at(k / ny, k % ny);
        const InnerValue m = inner(d.t1, d.t2);
        const Spectrum s(d);
        // the inverse Hessian, eigenvalues of the Hessian below the extension lifted to it
        const real low = 1 / larger(s.low, EXTENSION), high = 1 / larger(s.high, EXTENSION);
        const real half = real(0.5) * (d.h11 - d.h22);
        const real radius = sqrt(half * half + d.h12 * d.h12);
        const real turn = real(0.5) * (low - high) / larger(radius, TINY);
        const real mean = real(0.5) * (low + high);
        real* c = coefficients + k;
        c[0] = (mean - turn * half) / (h1 * h1);
        c[cells] = (mean + turn * half) / (h2 * h2);
        c[2 * cells] = -turn * d.h12 / (2 * h1 * h2);
        c[3 * cells] = m.f1 / (2 * h1);
        c[4 * cells] = m.f2 / (2 * h2);
    }
}

KERNEL flow_rows(const real* coefficients, real sigma, real* rows, int cells) {
    for (int k = first_index(); k < cells; k += index_step()) {
        const real z = 2 / (sigma + 2 * (coefficients[k] + coefficients[cells + k]));
        for (int c = 0; c < 5; ++c) rows[c * cells + k] = coefficients[c * cells + k] * z;
        rows[5 * cells + k] = z;
    }
}

KERNEL upwind_rows(const real* rows, real peclet, float* upwind, float* scale, int cells) {
    for (int k = first_index(); k < cells; k += index_step()) {
        real row[5];
        for (int c = 0; c < 5; ++c) row[c] = rows[c * cells + k];
        const real half_sigma = 1 - row[0] - row[1];
        row[0] = larger(row[0], peclet * fabs(row[3]));
        row[1] = larger(row[1], peclet * fabs(row[4]));
        const real z = 1 / (row[0] + row[1] + half_sigma);
        for (int c = 0; c < 5; ++c) upwind[c * cells + k] = row[c] * z;
        scale[k] = z;
    }
}
