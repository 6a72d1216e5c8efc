// The Newton step and the flow in one dimension.

#include "common.cuh"
#include "ghosts.cuh"
#include "inner.cuh"
#include "potential.cuh"
#include "elliptic.cuh"
#include "line.cuh"

KERNEL fill_ghosts_1d(real* u, int n, int mode) {
    for (int end = first_index(); end < 2; end += index_step()) {
        const Fold fold(end ? n : -1, n, mode);
        real total = 0;
        for (int s = 0; s < fold.count; ++s) total += fold.shares[s] * u[fold.cells[s] + 1];
        u[end * (n + 1)] = total;
    }
}

KERNEL inner_row_1d(int kind, const real* params, int components, const real* table, int length,
                    const real* x, int n, real* logm, real* f) {
    const InnerLine inner = {kind, params, components, table, length};
    for (int k = first_index(); k < n; k += index_step()) {
        const InnerValue m = inner(x[k]);
        logm[k] = m.logm;
        f[k] = m.f1;
    }
}

KERNEL linearise_1d(const real* u, const real* axis, const real* quad, int n,
                    const real* log_source, real log_c, int kind, const real* params,
                    int components, const real* table, int length, real dt, real edge,
                    real log_cap, real* rows, real* rhs, int how, double* partial) {
    const LinePotential psi = {u, axis, quad, n};
    const InnerLine inner = {kind, params, components, table, length};
    const real h = psi.h();
    const real floor = real(1e-12) * exp(log_cap);
    Tally<FIGURES> tally(how);
    for (int i = first_index(); i < n; i += index_step()) {
        const InnerValue m = inner(psi.gradient(i));
        const real det = psi.second(i);
        const real t2 = exp(smaller(log_source[i] + log_c - m.logm, log_cap));
        const real most = larger(det, t2);
        real drift = logarithmic_mean(larger(det, floor), t2);
        if (edge > 0 && (i == 0 || i == n - 1)) drift = larger(drift, edge * most);

        const real p = real(0.5) * drift * m.f1 * h;
        const real a = larger(real(1), fabs(p));
        const real half_sigma = real(0.5) * larger(drift, real(0.1) * most) * h * h / dt;
        const real z = 1 / (a + half_sigma);
        rows[i] = a * z;
        rows[n + i] = p * z;
        rows[2 * n + i] = t2 * h * h * z;
        rhs[i] = (det - t2) * h * h * z;

        const double image = double(exp(m.logm)) * det;
        const double nu = exp(log_source[i] + log_c);
        tally.add(MASS, larger(image, 0.0) * h);
        tally.add(TOTAL, nu * h);
        tally.add(CHI, chi_term(image, nu) * h);
        tally.add(LOWEST, det);
        tally.add(EXTENDED, det <= EXTENSION ? nu * h : 0.0);
        tally.add(WORST, fabs(rhs[i]));
        tally.add(RESIDUAL, residual_term(image, nu) * h);
    }
    tally.reduce(partial + FIGURES * blockIdx.x);
}

KERNEL gradient_norm_1d(const real* v, const real* log_source, double h, int n, int how,
                        double* partial) {
    Tally<1> tally(how);
    for (int i = first_index(); i < n; i += index_step()) {
        const double slope = (double(v[i + 2]) - v[i]) / (2.0 * h);
        tally.add(0, slope * slope * exp(double(log_source[i])) * h);
    }
    tally.reduce(partial + blockIdx.x);
}

KERNEL fields_1d(const real* u, const real* axis, const real* quad, int n, int kind,
                 const real* params, int components, const real* table, int length, real delta,
                 real* gradient, real* low, real* log_det, real* logm) {
    const LinePotential psi = {u, axis, quad, n};
    const InnerLine inner = {kind, params, components, table, length};
    for (int i = first_index(); i < n; i += index_step()) {
        gradient[i] = psi.gradient(i);
        low[i] = psi.second(i);
        log_det[i] = extended_log(low[i], delta);
        logm[i] = inner(gradient[i]).logm;
    }
}

// ------------------------------------------------------------------ the flow

enum { LOWEST_CURVATURE, DIFFUSION, DRIFT, EXTREMES };

KERNEL flow_rate_1d(const real* u, const real* axis, const real* quad, int n,
                    const real* log_source, real lowest, int kind, const real* params,
                    int components, const real* table, int length, real* rate, int how,
                    double* partial) {
    const LinePotential psi = {u, axis, quad, n};
    const InnerLine inner = {kind, params, components, table, length};
    const real h = psi.h();
    Tally<EXTREMES> tally(how);
    for (int i = first_index(); i < n; i += index_step()) {
        const InnerValue m = inner(psi.gradient(i));
        const real det = psi.second(i);
        rate[i] = m.logm + extended_log(det, EXTENSION) - log_source[i];
        tally.add(LOWEST_CURVATURE, det);
        tally.add(DIFFUSION, 2 / (det * h * h));
        tally.add(DRIFT, log_source[i] >= lowest ? real(0.5) * det * m.f1 * m.f1 : real(0));
    }
    tally.reduce(partial + EXTREMES * blockIdx.x);
}

KERNEL flow_coefficients_1d(const real* u, const real* axis, const real* quad, int n, int kind,
                            const real* params, int components, const real* table, int length,
                            real* coefficients) {
    const LinePotential psi = {u, axis, quad, n};
    const InnerLine inner = {kind, params, components, table, length};
    const real h = psi.h();
    for (int i = first_index(); i < n; i += index_step()) {
        coefficients[i] = 1 / (larger(psi.second(i), EXTENSION) * h * h);
        coefficients[n + i] = real(0.5) * inner(psi.gradient(i)).f1 / h;
    }
}
