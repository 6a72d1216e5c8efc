// A potential on a grid, psi(y) = <y - c, A (y - c)> / 2 + <b, y - c> + u(y): its derivatives at
// the cell centres by centred differences, and the sizes of the mismatch of two densities.

struct Derivatives {
    real t1, t2, h11, h12, h22;
};

struct Potential {
    const real* u;  // padded by one
    const real* axis1;
    const real* axis2;
    const real* quad;  // A11, A12, A22, c1, c2, b1, b2
    int ny;

    __device__ real h1() const { return axis1[1] - axis1[0]; }
    __device__ real h2() const { return axis2[1] - axis2[0]; }

    __device__ Derivatives at(int i, int j) const {
        const real h1 = this->h1(), h2 = this->h2();
        const int width = ny + 2;
        const real* c = u + (i + 1) * width + j + 1;
        const real *s = c - width, *n = c + width;
        const real z1 = axis1[i] - quad[3], z2 = axis2[j] - quad[4];
        return {
            quad[5] + quad[0] * z1 + quad[1] * z2 + (n[0] - s[0]) / (2 * h1),
            quad[6] + quad[1] * z1 + quad[2] * z2 + (c[1] - c[-1]) / (2 * h2),
            quad[0] + (n[0] - 2 * c[0] + s[0]) / (h1 * h1),
            quad[1] + (n[1] - n[-1] - s[1] + s[-1]) / (4 * h1 * h2),
            quad[2] + (c[1] - 2 * c[0] + c[-1]) / (h2 * h2),
        };
    }
};

// Determinant and eigenvalues, low <= high, of a symmetric matrix.
struct Spectrum {
    real det, low, high;

    __device__ explicit Spectrum(const Derivatives& d) {
        const real half = real(0.5) * (d.h11 + d.h22);
        const real radius = sqrt(square(real(0.5) * (d.h11 - d.h22)) + d.h12 * d.h12);
        det = d.h11 * d.h22 - d.h12 * d.h12;
        high = half + radius;
        // where they have one sign the quotient does not cancel
        low = high > real(0.5) * radius ? det / high : half - radius;
    }
};

// Summands of chi^2 and of the squared residual, of densities of the image and of the source.
__device__ inline double chi_term(double image, double nu) {
    return square(image - nu) / (fabs(image) + nu + 1e-300);
}

__device__ inline double residual_term(double image, double nu) {
    const double positive = larger(image, 0.0);
    const double bounded = 2.0 * (positive - nu) / (positive + nu + 1e-300);
    return bounded * bounded * nu;
}

// What a linearisation returns, in this order; the last three sums are over a cell's size.
enum Figure { MASS, TOTAL, CHI, LOWEST, EXTENDED, WORST, RESIDUAL, FIGURES };
