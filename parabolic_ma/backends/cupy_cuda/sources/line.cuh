// A potential on the line, psi(y) = A (y - c)^2 / 2 + b (y - c) + u(y).

struct LinePotential {
    const real* u;  // padded by one
    const real* axis;
    const real* quad;  // A, c, b
    int n;

    __device__ real h() const { return axis[1] - axis[0]; }

    __device__ real gradient(int i) const {
        return quad[2] + quad[0] * (axis[i] - quad[1]) + (u[i + 2] - u[i]) / (2 * h());
    }

    __device__ real second(int i) const {
        return quad[0] + (u[i + 2] - 2 * u[i + 1] + u[i]) / (h() * h());
    }

    // Gradient at lower face i, 0 <= i <= n, by the difference of the two cells.
    __device__ real at_face(int i) const {
        const real center = i < n ? axis[i] : axis[n - 1] + h();
        const real face = center - real(0.5) * h();
        return quad[2] + quad[0] * (face - quad[1]) + (u[i + 1] - u[i]) / h();
    }
};
