// What all kernels share. Every source is compiled twice, with REAL, the type of potentials and
// densities, double and float. THREADS is the number of threads of a block that reduces, a power of
// two; SMALL_THREADS that of the one block that works on a whole small level.

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif

#define KERNEL extern "C" __global__ void

typedef REAL real;
typedef long long integer;  // of index arrays

#define TINY real(sizeof(real) == 8 ? 1e-300 : 1e-37)  // instead of zero in a denominator

// Maximum and minimum that are NaN if one of the numbers is, unlike those of the C library: an
// iterate that diverges has to show in what the kernels return.
template <typename T>
__device__ inline T larger(T a, T b) {
    return a > b || a != a ? a : b;
}

template <typename T>
__device__ inline T smaller(T a, T b) {
    return a < b || a != a ? a : b;
}

template <typename T>
__device__ inline T square(T a) {
    return a * a;
}

// Loops over all elements, from `first_index` in steps of `index_step`, run with any number of
// threads and blocks.
__device__ inline int first_index() { return blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline int index_step() { return gridDim.x * blockDim.x; }

// Place of a thread in a launch over a plane; x is axis 1, along which memory is contiguous.
__device__ inline int plane_row() { return blockIdx.y * blockDim.y + threadIdx.y; }
__device__ inline int plane_column() { return blockIdx.x * blockDim.x + threadIdx.x; }

// How the K numbers of every thread become K numbers: two bits of `how` each.
enum Reduction { SUM = 0, LARGEST = 1, SMALLEST = 2 };

__device__ inline Reduction reduction(int how, int k) { return Reduction((how >> (2 * k)) & 3); }

__device__ inline double neutral(Reduction op) {
    return op == SUM ? 0.0 : op == LARGEST ? -INFINITY : INFINITY;
}

__device__ inline double reduced(Reduction op, double a, double b) {
    return op == SUM ? a + b : op == LARGEST ? larger(a, b) : smaller(a, b);
}

// The numbers of one thread before it has seen an element.
template <int K>
struct Tally {
    double values[K];
    int how;

    __device__ explicit Tally(int how) : how(how) {
        for (int k = 0; k < K; ++k) values[k] = neutral(reduction(how, k));
    }

    __device__ void add(int k, double value) {
        values[k] = reduced(reduction(how, k), values[k], value);
    }

    // Reduce over the block, always in the same order, and write K numbers to `out`.
    __device__ void reduce(double* out) const {
        __shared__ double shared[K][THREADS];
        const int t = threadIdx.x;
        for (int k = 0; k < K; ++k) shared[k][t] = values[k];
        __syncthreads();
        for (int half = THREADS / 2; half > 0; half /= 2) {
            if (t < half) {
                for (int k = 0; k < K; ++k) {
                    shared[k][t] =
                        reduced(reduction(how, k), shared[k][t], shared[k][t + half]);
                }
            }
            __syncthreads();
        }
        if (t == 0) {
            for (int k = 0; k < K; ++k) out[k] = shared[k][0];
        }
        __syncthreads();
    }
};
