// The conservative equation: the inner mass of the image of every cell.
//
// The image of a cell is the octagon through the images of its corners and face midpoints, and the
// mass in it the integral of F dY around it. Edges are integrated once, by `half_edges`, for the
// two cells that share them.

#include "common.cuh"
#include "inner.cuh"
#include "potential.cuh"
#include "elliptic.cuh"
#include "bsplines.cuh"

#define MOST_PIECES 64

struct Point {
    real x, y;
};

// Images of the corners and of the midpoints of the faces: the gradient of psi by differences and
// means of the nearest cells.
struct Vertices {
    Potential psi;
    int nx;
    real h1, h2;

    __device__ Vertices(const Potential& psi, int nx)
        : psi(psi), nx(nx), h1(psi.h1()), h2(psi.h2()) {}

    __device__ real face(const real* axis, int n, int i, real h) const {
        return i < n ? axis[i] - real(0.5) * h : axis[n - 1] + real(0.5) * h;
    }

    __device__ Point image(real y1, real y2, real du1, real du2) const {
        const real* q = psi.quad;
        const real z1 = y1 - q[3], z2 = y2 - q[4];
        return {q[5] + q[0] * z1 + q[1] * z2 + du1, q[6] + q[1] * z1 + q[2] * z2 + du2};
    }

    // Differences of u between padded places (i, j) and the next one on either axis.
    __device__ real d1(int i, int j) const {
        const real* c = psi.u + i * (psi.ny + 2) + j;
        return (c[psi.ny + 2] - c[0]) / h1;
    }

    __device__ real d2(int i, int j) const {
        const real* c = psi.u + i * (psi.ny + 2) + j;
        return (c[1] - c[0]) / h2;
    }

    // Lower corner of cell (i, j).
    __device__ Point corner(int i, int j) const {
        return image(face(psi.axis1, nx, i, h1), face(psi.axis2, psi.ny, j, h2),
                     real(0.5) * (d1(i, j + 1) + d1(i, j)), real(0.5) * (d2(i + 1, j) + d2(i, j)));
    }

    // Midpoint of the lower face across axis 0, and across axis 1.
    __device__ Point middle1(int i, int j) const {
        const real here = real(0.5) * (d2(i + 1, j + 1) + d2(i + 1, j));
        const real before = real(0.5) * (d2(i, j + 1) + d2(i, j));
        return image(face(psi.axis1, nx, i, h1), psi.axis2[j], d1(i, j + 1),
                     real(0.5) * (here + before));
    }

    __device__ Point middle2(int i, int j) const {
        const real here = real(0.5) * (d1(i + 1, j + 1) + d1(i, j + 1));
        const real before = real(0.5) * (d1(i + 1, j) + d1(i, j));
        return image(psi.axis1[i], face(psi.axis2, psi.ny, j, h2), real(0.5) * (here + before),
                     d2(i + 1, j));
    }
};

// F, dF/dX = m and dF/dY at a point. Beyond the box F has its value at the face, m is zero.
struct Antiderivative {
    const real* sums;
    const real* geometry;
    int rows, columns;  // of sums

    __device__ real operator()(real x, real y, real& density, real& by_y) const {
        const real h1 = geometry[2], h2 = geometry[3];
        const Cell a(x, geometry[0], h1, rows - 6), b(y, geometry[1], h2, columns - 4);
        const real t = b.place, r = 1 - t;
        const real weights[3] = {real(0.5) * r * r, real(0.5) + t * r, real(0.5) * t * t};
        const real slopes[3] = {-r / h2, (r - t) / h2, t / h2};
        const Cubic cubic(a.place);
        real value = 0;
        density = by_y = 0;
        for (int l = 0; l < 3; ++l) {
            const real* c = sums + (a.index + 1) * columns + b.index + 1 + l;
            real along = 0, slope = 0;
            for (int k = 0; k < 4; ++k) {
                along += cubic.weights[k] * c[k * columns];
                slope += cubic.slopes[k] * c[k * columns];
            }
            value += along * weights[l];
            density += slope / h1 * weights[l];
            by_y += along * slopes[l];
        }
        if (!(a.inside && b.inside)) density = 0;
        if (!b.inside) by_y = 0;
        return value;
    }
};

// The integral of F dY along a half-edge, its derivatives by the two ends, and m (dY, -dX).
enum { EDGE_MASS, START_X, START_Y, END_X, END_Y, SHIFT_X, SHIFT_Y, EDGE_VALUES };

// Composite three-point Gauss with pieces at most half a cell long.
KERNEL half_edges(const real* u, const real* axis1, const real* axis2, const real* quad, int nx,
                  int ny, const real* sums, const real* geometry, int rows, int columns,
                  real* edges) {
    const Vertices vertices({u, axis1, axis2, quad, ny}, nx);
    const Antiderivative antiderivative = {sums, geometry, rows, columns};
    const real nodes[3] = {real(0.11270166537925831148), real(0.5), real(0.88729833462074168852)};
    const real shares[3] = {real(5.0 / 18.0), real(8.0 / 18.0), real(5.0 / 18.0)};
    const int across1 = (nx + 1) * ny, count = across1 + nx * (ny + 1);
    for (int k = first_index(); k < 2 * count; k += index_step()) {
        const int e = k / 2, half = k % 2;
        const bool first = e < across1;
        const int i = first ? e / ny : (e - across1) / (ny + 1);
        const int j = first ? e % ny : (e - across1) % (ny + 1);
        const Point middle = first ? vertices.middle1(i, j) : vertices.middle2(i, j);
        const Point end = first ? vertices.corner(i, j + half) : vertices.corner(i + half, j);
        const Point p = half ? middle : end, q = half ? end : middle;
        const real dx = q.x - p.x, dy = q.y - p.y;
        const real length = larger(fabs(dx / geometry[2]), fabs(dy / geometry[3]));
        // fmin and fmax send NaN to one piece
        const int pieces = int(fmin(fmax(ceil(2 * length - ROUNDING), real(1)), real(MOST_PIECES)));
        real f = 0, m = 0, m_start = 0, m_end = 0, by_y_start = 0, by_y_end = 0;
        for (int piece = 0; piece < pieces; ++piece) {
            for (int node = 0; node < 3; ++node) {
                const real t = (piece + nodes[node]) / pieces, s = 1 - t;
                const real w = shares[node] / pieces;
                real density, by_y;
                f += w * antiderivative(p.x + dx * t, p.y + dy * t, density, by_y);
                m += w * density;
                m_start += w * s * density;
                m_end += w * t * density;
                by_y_start += w * s * by_y;
                by_y_end += w * t * by_y;
            }
        }
        real* out = edges + EDGE_VALUES * k;
        out[EDGE_MASS] = f * dy;
        out[START_X] = m_start * dy;
        out[START_Y] = by_y_start * dy - f;
        out[END_X] = m_end * dy;
        out[END_Y] = by_y_end * dy + f;
        out[SHIFT_X] = m * dy;
        out[SHIFT_Y] = -m * dx;
    }
}

// The four edges of a cell, as pairs of halves.
struct CellEdges {
    const real *left, *right, *bottom, *top;

    __device__ CellEdges(const real* edges, int nx, int ny, int i, int j) {
        const int across1 = (nx + 1) * ny;
        left = edges + 2 * EDGE_VALUES * (i * ny + j);
        right = left + 2 * EDGE_VALUES * ny;
        bottom = edges + 2 * EDGE_VALUES * (across1 + i * (ny + 1) + j);
        top = bottom + 2 * EDGE_VALUES;
    }

    // Counterclockwise sum of one of the values.
    __device__ real around(int value) const {
        real total = 0;
        for (int half = 0; half < 2; ++half) {
            const int at = half * EDGE_VALUES + value;
            total += bottom[at] + right[at] - top[at] - left[at];
        }
        return total;
    }
};

// Signed area of the octagon of cell (i, j).
__device__ inline real octagon(const Vertices& v, int i, int j) {
    const Point points[8] = {v.corner(i, j),         v.middle2(i, j),     v.corner(i + 1, j),
                             v.middle1(i + 1, j),    v.corner(i + 1, j + 1),
                             v.middle2(i, j + 1),    v.corner(i, j + 1),  v.middle1(i, j)};
    real area = 0;
    for (int k = 0; k < 8; ++k) {
        const Point p = points[k], q = points[(k + 1) % 8];
        area += real(0.5) * (p.x * q.y - q.x * p.y);
    }
    return area;
}

KERNEL cell_images(const real* u, const real* axis1, const real* axis2, const real* quad, int nx,
                   int ny, const real* edges, real* mass, real* area) {
    const Vertices vertices({u, axis1, axis2, quad, ny}, nx);
    for (int k = first_index(); k < nx * ny; k += index_step()) {
        mass[k] = CellEdges(edges, nx, ny, k / ny, k % ny).around(EDGE_MASS);
        area[k] = octagon(vertices, k / ny, k % ny);
    }
}

// Difference and mean of u over three cells for a vertex at the lower face, the centre or the upper
// face of the middle one.
__device__ inline real difference_weight(int place, int cell) {
    const real weights[3][3] = {{-1, 1, 0}, {real(-0.5), 0, real(0.5)}, {0, -1, 1}};
    return weights[place][cell];
}

__device__ inline real mean_weight(int place, int cell) {
    const real weights[3][3] = {{real(0.5), real(0.5), 0}, {0, 1, 0}, {0, real(0.5), real(0.5)}};
    return weights[place][cell];
}

// What one of the eight vertices contributes to the derivative of the mass by u.
__device__ inline void add_vertex(real (&stencil)[9], int place1, int place2, Point derivative,
                                  real h1, real h2) {
    for (int a = 0; a < 3; ++a) {
        for (int b = 0; b < 3; ++b) {
            stencil[3 * a + b] +=
                difference_weight(place1, a) * mean_weight(place2, b) / h1 * derivative.x +
                mean_weight(place1, a) * difference_weight(place2, b) / h2 * derivative.y;
        }
    }
}

// Derivative of the mass of a cell's image by u of its 3 x 3 neighbours.
__device__ inline void mass_stencil(const CellEdges& e, real h1, real h2, real (&stencil)[9]) {
    enum { LOWER, CENTER, UPPER };
    // derivative by the start or the end of a half, with a sign
    const auto by = [](const real* edge, int half, int end, int sign) {
        const real* d = edge + half * EDGE_VALUES + (end ? END_X : START_X);
        return Point{sign * d[0], sign * d[1]};
    };
    const auto sum = [](Point a, Point b) { return Point{a.x + b.x, a.y + b.y}; };
    for (int k = 0; k < 9; ++k) stencil[k] = 0;
    const Point vertices[8] = {
        sum(by(e.bottom, 0, 0, 1), by(e.left, 0, 0, -1)),
        sum(by(e.bottom, 0, 1, 1), by(e.bottom, 1, 0, 1)),
        sum(by(e.bottom, 1, 1, 1), by(e.right, 0, 0, 1)),
        sum(by(e.right, 0, 1, 1), by(e.right, 1, 0, 1)),
        sum(by(e.right, 1, 1, 1), by(e.top, 1, 1, -1)),
        sum(by(e.top, 0, 1, -1), by(e.top, 1, 0, -1)),
        sum(by(e.top, 0, 0, -1), by(e.left, 1, 1, -1)),
        sum(by(e.left, 0, 1, -1), by(e.left, 1, 0, -1)),
    };
    const int place1[8] = {LOWER, CENTER, UPPER, UPPER, UPPER, CENTER, LOWER, LOWER};
    const int place2[8] = {LOWER, LOWER, LOWER, CENTER, UPPER, UPPER, UPPER, CENTER};
    for (int k = 0; k < 8; ++k) add_vertex(stencil, place1[k], place2[k], vertices[k], h1, h2);
}

KERNEL linearise_cells(const real* u, const real* axis1, const real* axis2, const real* quad,
                       int nx, int ny, const real* log_source, real log_c, const real* edges,
                       int kind, const real* params, int components, const real* table,
                       int table_rows, int table_columns, real clip, real dt, real peclet,
                       real log_cap, float* rows, float* rhs, float* tangent, float* nine, int how,
                       double* partial) {
    const Potential psi = {u, axis1, axis2, quad, ny};
    const Vertices vertices(psi, nx);
    const Inner inner = {kind, params, components, table, table_rows, table_columns};
    const real h1 = psi.h1(), h2 = psi.h2(), area = h1 * h2;
    const int cells = nx * ny;
    Tally<FIGURES> tally(how);
    for (int k = first_index(); k < cells; k += index_step()) {
        const int i = k / ny, j = k % ny;
        const CellEdges cell(edges, nx, ny, i, j);
        const real mass = cell.around(EDGE_MASS);
        const Derivatives d = psi.at(i, j);
        const Spectrum spectrum(d);
        const real nu = exp(log_source[k] + log_c);

        // the mean density of the image in place of that at the centre's image
        const real size = octagon(vertices, i, j);
        const real at_center = larger(exp(inner(d.t1, d.t2).logm), TINY);
        real mean = size > 0 ? mass / size : at_center;
        mean = smaller(larger(mean, at_center / 3), 3 * at_center);
        // where the image has left the inner measure's support the row still needs a scale
        mean = larger(mean, nu / exp(log_cap));
        const real t2 = nu / mean;
        const EllipticPart b(d, spectrum, t2, clip, log_cap);
        const real trace = b.big + b.small;

        const real diagonal = 1 / (b.b11 / (h1 * h1) + b.b22 / (h2 * h2));
        const real weight = diagonal / (trace * mean * area);
        const real p = -weight * cell.around(SHIFT_X) / (2 * h1);
        const real q = -weight * cell.around(SHIFT_Y) / (2 * h2);
        const real time_term = larger(b.small * b.big, real(0.1) * b.big * b.big);
        const real half_sigma = real(0.5) * time_term * diagonal / (trace * dt);
        const real z = write_row(b, p, q, diagonal, half_sigma, h1, h2, peclet, rows + k, cells);
        const real excess = (mass - nu * area) * weight * z;
        rhs[k] = excess;
        tangent[k] = nu * area * weight * z;
        real stencil[9];
        mass_stencil(cell, h1, h2, stencil);
        for (int n = 0; n < 9; ++n) {
            nine[n * cells + k] = -stencil[n] * (weight * z) + (n == 4 ? 2 * half_sigma * z : 0);
        }

        const double image = double(mass) / area;
        tally.add(MASS, mass);
        tally.add(TOTAL, double(nu) * area);
        tally.add(CHI, chi_term(image, nu) * area);
        tally.add(LOWEST, spectrum.low);
        tally.add(EXTENDED, mass <= 0 ? double(nu) * area : 0.0);
        tally.add(WORST, fabs(excess));
        tally.add(RESIDUAL, residual_term(image, nu) * area);
    }
    tally.reduce(partial + FIGURES * blockIdx.x);
}

KERNEL apply_nine(const real* nine, const real* v, real* out, int nx, int ny) {
    const int i = plane_row(), j = plane_column();
    if (i >= nx || j >= ny) return;
    real sum = 0;
    for (int k = 0; k < 9; ++k) {
        sum += nine[k * nx * ny + i * ny + j] * v[(i + k / 3) * (ny + 2) + j + k % 3];
    }
    out[i * ny + j] = -sum;
}
