// The antiderivative of a quadratic B-spline density, a cubic B-spline, on cells of a box.

#define ROUNDING real(1e-9)  // in cells: faces of the two boxes agree but for rounding

// The cell of a coordinate, the place in it (0 to 1), and whether it is in the box. Beyond the box
// it is the place at the face; of NaN it is NaN, in the first cell.
struct Cell {
    int index;
    real place;
    bool inside;

    __device__ Cell(real x, real lower, real spacing, int cells) {
        const real s = (x - lower) / spacing;
        const real clamped = smaller(larger(s, real(0)), real(cells));
        index = int(fmax(real(0), smaller(clamped, real(cells - 1))));
        place = clamped - index;
        inside = fabs(s - clamped) <= ROUNDING;
    }
};

// F and its derivative on the line; `sums` has three cells more at each end.
struct Distribution {
    const real* sums;
    int cells;
    real lower, h;

    __device__ real operator()(real x, real& density) const {
        const Cell cell(x, lower, h, cells);
        const Cubic cubic(cell.place);
        real value = 0;
        density = 0;
        for (int k = 0; k < 4; ++k) {
            const real coefficient = sums[cell.index + 1 + k];
            value += cubic.weights[k] * coefficient;
            density += cubic.slopes[k] * coefficient;
        }
        density = cell.inside ? density / h : real(0);
        return value;
    }
};
