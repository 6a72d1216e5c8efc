// The Newton step on the Monge-Ampere equation in two dimensions.

#include "common.cuh"
#include "inner.cuh"
#include "potential.cuh"
#include "elliptic.cuh"

KERNEL inner_row(int kind, const real* params, int components, const real* table, int rows,
                 int columns, const real* x1, const real* x2, int n, real* logm, real* f1,
                 real* f2) {
    const Inner inner = {kind, params, components, table, rows, columns};
    for (int k = first_index(); k < n; k += index_step()) {
        const InnerValue m = inner(x1[k], x2[k]);
        logm[k] = m.logm;
        f1[k] = m.f1;
        f2[k] = m.f2;
    }
}

KERNEL linearise(const real* u, const real* axis1, const real* axis2, const real* quad, int nx,
                 int ny, const real* log_source, real log_c, int kind, const real* params,
                 int components, const real* table, int table_rows, int table_columns, real clip,
                 real dt, real peclet, real log_cap, float* rows, float* rhs, float* tangent,
                 int how, double* partial) {
    const Potential psi = {u, axis1, axis2, quad, ny};
    const Inner inner = {kind, params, components, table, table_rows, table_columns};
    const real h1 = psi.h1(), h2 = psi.h2();
    const double area = double(h1) * h2;
    const int cells = nx * ny;
    Tally<FIGURES> tally(how);
    for (int k = first_index(); k < cells; k += index_step()) {
        const Derivatives d = psi.at(k / ny, k % ny);
        const InnerValue m = inner(d.t1, d.t2);
        const Spectrum spectrum(d);
        const real t2 = exp(smaller(log_source[k] + log_c - m.logm, log_cap));
        const EllipticPart b(d, spectrum, t2, clip, log_cap);
        const real trace = b.big + b.small;
        const real numerator = b.big > spectrum.high ? spectrum.low * b.big : spectrum.det;
        const real drift = logarithmic_mean(larger(numerator, b.small * b.big), t2);

        // row / (trace x diagonal of B : Hess), then / half of the diagonal that upwinding leaves
        const real diagonal = 1 / (b.b11 / (h1 * h1) + b.b22 / (h2 * h2));
        const real p = drift * m.f1 / (2 * h1) * diagonal / trace;
        const real q = drift * m.f2 / (2 * h2) * diagonal / trace;
        const real time_term = larger(drift, real(0.1) * b.big * b.big);
        const real half_sigma = real(0.5) * time_term * diagonal / (trace * dt);
        const real z = write_row(b, p, q, diagonal, half_sigma, h1, h2, peclet, rows + k, cells);
        const real excess = (numerator - t2) * diagonal * z / trace;
        rhs[k] = excess;
        tangent[k] = t2 * diagonal * z / trace;

        const double image = double(exp(m.logm)) * spectrum.det;
        const double nu = exp(log_source[k] + log_c);
        tally.add(MASS, larger(image, 0.0) * area);
        tally.add(TOTAL, nu * area);
        tally.add(CHI, chi_term(image, nu) * area);
        tally.add(LOWEST, spectrum.low);
        tally.add(EXTENDED, spectrum.low <= EXTENSION ? nu * area : 0.0);
        tally.add(WORST, fabs(excess));
        tally.add(RESIDUAL, residual_term(image, nu) * area);
    }
    tally.reduce(partial + FIGURES * blockIdx.x);
}

KERNEL fields(const real* u, const real* axis1, const real* axis2, const real* quad, int nx, int ny,
              int kind, const real* params, int components, const real* table, int table_rows,
              int table_columns, real delta, real* gradient, real* low, real* high, real* log_det,
              real* logm) {
    const Potential psi = {u, axis1, axis2, quad, ny};
    const Inner inner = {kind, params, components, table, table_rows, table_columns};
    for (int k = first_index(); k < nx * ny; k += index_step()) {
        const Derivatives d = psi.at(k / ny, k % ny);
        const Spectrum spectrum(d);
        gradient[2 * k] = d.t1;
        gradient[2 * k + 1] = d.t2;
        low[k] = spectrum.low;
        high[k] = spectrum.high;
        log_det[k] = extended_log(spectrum.low, delta) + extended_log(spectrum.high, delta);
        logm[k] = inner(d.t1, d.t2).logm;
    }
}
