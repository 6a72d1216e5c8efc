// The clipped elliptic operator that replaces the cofactor matrix of the Hessian, and its rows.

#define RAISED 2  // ratio of sqrt t2 and the large eigenvalue from which the former is taken

// L P1 + K P2 with the projectors on the eigenvectors of the Hessian, over its trace L + K:
// L = max(high, min(q, 2 q - 2 high)), q = sqrt t2, and K = low clipped to [clip L, L].
struct EllipticPart {
    real big, small, b11, b12, b22;

    __device__ EllipticPart(const Derivatives& d, const Spectrum& spectrum, real t2, real clip,
                            real log_cap) {
        // where H is negative and t2 underflows the operator still needs a scale
        const real floor = real(1e-6) * exp(real(0.5) * log_cap);
        const real wanted = sqrt(t2);
        const real raised = smaller(wanted, 2 * wanted - RAISED * spectrum.high);
        big = larger(larger(spectrum.high, raised), floor);
        small = smaller(larger(spectrum.low, clip * big), big);
        const real diff = real(0.5) * (d.h11 - d.h22);
        const real radius = sqrt(diff * diff + d.h12 * d.h12);
        const real cosine = radius > 0 ? diff / radius : real(0);
        const real sine = radius > 0 ? d.h12 / radius : real(0);
        const real gap = (big - small) / (big + small);
        b11 = real(0.5) * (1 - gap * cosine);
        b12 = real(-0.5) * gap * sine;
        b22 = real(0.5) * (1 + gap * cosine);
    }
};

// (t2 - d) / log(t2 / d) where t2 > d, and d elsewhere.
__device__ inline real logarithmic_mean(real det, real t2) {
    const real ratio = t2 / det;
    return ratio > real(1 + 1e-6) ? (t2 - det) / log(ratio) : det;
}

// Write a, d, x, p, q of one cell, upwind and of diagonal 2; return the factor of right-hand sides.
// `diagonal` is one over that of B : Hess, over two.
__device__ inline real write_row(const EllipticPart& b, real p, real q, real diagonal,
                                 real half_sigma, real h1, real h2, real peclet, float* row,
                                 int cells) {
    const real a = larger(b.b11 * diagonal / (h1 * h1), peclet * fabs(p));
    const real d = larger(b.b22 * diagonal / (h2 * h2), peclet * fabs(q));
    const real z = 1 / (a + d + half_sigma);
    row[0] = a * z;
    row[cells] = d * z;
    row[2 * cells] = real(0.5) * b.b12 * diagonal * z / (h1 * h2);
    row[3 * cells] = p * z;
    row[4 * cells] = q * z;
    return z;
}
