// Kernels of the surrogate for GPUs; `backend.py` says what each is for, `gp/covariance.py` has the
// formulas, and tests/core/naive.py the oracles.
//
// The same text is also plain C: a kernel is phases of independent work items (EACH) with barriers
// between them (BARRIER), and nothing but shared memory outlives a phase. So the tests compile it with
// the machine's C compiler and run it block by block, without a GPU. Nothing here checks anything.
//
// Arrays are double, row by row. Points come coordinate by coordinate, (d, n). A floor is the least time
// on a card with 34 Tflop/s of double precision outside its tensor cores and 4.8 TB/s (an H200); an exponential
// counts as 30 flops, a square root as 15.

#ifdef __CUDACC__
#define KERNEL extern "C" __global__ void
#define INLINE static __device__ __forceinline__
#define SHARED __shared__
#define BARRIER __syncthreads()
#define EACH(item, count) for (int item = threadIdx.x; item < (count); item += blockDim.x)
#define BLOCK_X ((int)blockIdx.x)
#define BLOCK_Y ((int)blockIdx.y)
#define LENGTH(n) ((unsigned long long)(n))
#else
#include <math.h>
#include <stddef.h>
int block_x, block_y;  // set before each call, in place of a launch
#define KERNEL void
#define INLINE static inline
#define SHARED
#define BARRIER
#ifdef BACKWARDS  // the order of work items must not matter
#define EACH(item, count) for (int item = (count) - 1; item >= 0; --item)
#else
#define EACH(item, count) for (int item = 0; item < (count); ++item)
#endif
#define BLOCK_X block_x
#define BLOCK_Y block_y
#define LENGTH(n) ((size_t)(n))
#endif

// What a block works on; `backend.py` reads these numbers.
#define COLUMNS 128
#define STRIP 8
#define GROUP 8
#define SEGMENT 1024
#define BASE 32
#define LANES 128

// The squared distance of two scaled points, coordinate `stride` apart in u and in z.
INLINE double squared_distance(const double *u, int n, int i, const double *z, int m, int c,
                               const double *mismatch, int d) {
    double total = 0.0;
    for (int j = 0; j < d; ++j) {
        double here = u[LENGTH(j) * n + i], there = z[LENGTH(j) * m + c];
        double penalty = mismatch[j], difference = here - there;
        total += penalty > 0.0 ? (here != there ? penalty : 0.0) : difference * difference;
    }
    return total;
}

// The derivative of the correlation by the squared distance: -5/6 (1 + a) exp(-a), a = sqrt(5 r2).
INLINE double slope_at(double r2) {
    double a = sqrt(5.0 * r2);
    return -(5.0 / 6.0) * (1.0 + a) * exp(-a);
}

// The squared distances of a strip of STRIP points of u from one point of z.
INLINE void strip_distances(const double *u, int n, int first, const double *z, int m, int c,
                            const double *mismatch, int d, double *total) {
    for (int r = 0; r < STRIP; ++r) total[r] = 0.0;
    for (int j = 0; j < d; ++j) {
        const double *line = u + LENGTH(j) * n;
        double there = z[LENGTH(j) * m + c], penalty = mismatch[j];
        for (int r = 0; r < STRIP; ++r) {
            double here = line[first + r < n ? first + r : n - 1];
            double difference = here - there;
            total[r] += penalty > 0.0 ? (here != there ? penalty : 0.0) : difference * difference;
        }
    }
}

// Fill out (n, m) with k(u, z), and add `noise` where row and column are the same.
//
// A block: COLUMNS columns of STRIP rows. Blocks: (m / COLUMNS, n / STRIP).
// Floor: 8nm bytes written, nm (3d + 52) flops: at n = m = 10,000, d = 20 0.17 ms and 0.33 ms.
KERNEL correlations(const double *u, const double *z, const double *mismatch, double *out, int n,
                    int m, int d, double constant, double noise) {
    EACH(item, COLUMNS) {
        int c = BLOCK_X * COLUMNS + item, first = BLOCK_Y * STRIP;
        if (c < m) {
            double r2[STRIP];
            strip_distances(u, n, first, z, m, c, mismatch, d, r2);
            for (int r = 0; r < STRIP && first + r < n; ++r) {
                double a = sqrt(5.0 * r2[r]);
                double k = (1.0 + a + a * a / 3.0) * exp(-a) + constant;
                out[LENGTH(first + r) * m + c] = first + r == c ? k + noise : k;
            }
        }
    }
}

// Replace the inverse covariance w (n, n) by what the likelihood's gradient weighs pairs with:
// (scale alpha_i alpha_k - w_ik) times the slope of the correlation of i and k.
//
// Distances are computed again: that is less than reading as many slopes would take.
// A block: COLUMNS columns of STRIP rows. Blocks: (n / COLUMNS, n / STRIP).
// Floor: 16n^2 bytes, n^2 (3d + 51) flops: at n = 10,000, d = 20 0.33 ms and 0.33 ms.
KERNEL weigh(const double *u, const double *mismatch, const double *alpha, double *w, int n, int d,
             double scale) {
    EACH(item, COLUMNS) {
        int c = BLOCK_X * COLUMNS + item, first = BLOCK_Y * STRIP;
        if (c < n) {
            double r2[STRIP];
            strip_distances(u, n, first, u, n, c, mismatch, d, r2);
            double mine = scale * alpha[c];
            for (int r = 0; r < STRIP && first + r < n; ++r) {
                double *entry = w + LENGTH(first + r) * n + c;
                *entry = (mine * alpha[first + r] - *entry) * slope_at(r2[r]);
            }
        }
    }
}

// Sum up, over the points k of one segment, q_ik (u_ji - u_jk) and q_ik times what coordinate j adds
// to the squared distance, into moments and spreads (segments, d, n). q (n, n) is symmetric.
//
// A block: COLUMNS points i, GROUP coordinates at a time, which are kept in registers: q is read once
// for each group. Blocks: (n / COLUMNS, segments).
// Floor: 8n^2 d / GROUP bytes, 4n^2 d flops: at n = 10,000, d = 20 0.42 ms and 0.24 ms.
KERNEL pull(const double *u, const double *mismatch, const double *q, double *moments,
            double *spreads, int n, int d) {
    EACH(item, COLUMNS) {
        int i = BLOCK_X * COLUMNS + item, from = BLOCK_Y * SEGMENT;
        int to = from + SEGMENT < n ? from + SEGMENT : n;
        for (int group = 0; i < n && group < d; group += GROUP) {
            double first[GROUP], second[GROUP], here[GROUP];
            for (int g = 0; g < GROUP; ++g) {
                first[g] = second[g] = 0.0;
                here[g] = u[LENGTH(group + g < d ? group + g : d - 1) * n + i];
            }
            for (int k = from; k < to; ++k) {
                double weight = q[LENGTH(k) * n + i];
                for (int g = 0; g < GROUP; ++g) {
                    int j = group + g < d ? group + g : d - 1;
                    double there = u[LENGTH(j) * n + k], penalty = mismatch[j];
                    double difference = here[g] - there;
                    if (penalty > 0.0) {
                        second[g] += here[g] != there ? weight * penalty : 0.0;
                    } else {
                        first[g] += weight * difference;
                        second[g] += weight * difference * difference;
                    }
                }
            }
            for (int g = 0; g < GROUP && group + g < d; ++g) {
                size_t place = (LENGTH(BLOCK_Y) * d + group + g) * n + i;
                moments[place] = first[g];
                spreads[place] = second[g];
            }
        }
    }
}

// Sum up what the gradients of the mean and of the variance at points z (d, m) need: over the observed
// points i, weight_ic (z_jc - u_ji) with weight alpha_i slope_ic, into by_mean (d, m), and with weight
// back_ic slope_ic, into by_variance (d, m). 0 for a categorical coordinate. back is (n, m).
//
// A block: one point, GROUP coordinates, LANES partial sums, which are added up in their order.
// Blocks: (m, d / GROUP).
// Floor: nm (3d + 49) d / GROUP + 8nmd flops: at n = 10,000, d = 20 0.2 ms for 600 points.
KERNEL pull_candidates(const double *u, const double *z, const double *mismatch,
                       const double *alpha, const double *back, double *by_mean,
                       double *by_variance, int n, int m, int d) {
    SHARED double means[LANES][GROUP], variances[LANES][GROUP];
    EACH(lane, LANES) {
        double mean[GROUP], variance[GROUP];
        for (int g = 0; g < GROUP; ++g) mean[g] = variance[g] = 0.0;
        for (int i = lane; i < n; i += LANES) {
            double slope = slope_at(squared_distance(u, n, i, z, m, BLOCK_X, mismatch, d));
            double of_mean = slope * alpha[i];
            double of_variance = slope * back[LENGTH(i) * m + BLOCK_X];
            for (int g = 0; g < GROUP; ++g) {
                int j = BLOCK_Y * GROUP + g < d ? BLOCK_Y * GROUP + g : d - 1;
                double difference = z[LENGTH(j) * m + BLOCK_X] - u[LENGTH(j) * n + i];
                mean[g] += of_mean * difference;
                variance[g] += of_variance * difference;
            }
        }
        for (int g = 0; g < GROUP; ++g) {
            means[lane][g] = mean[g];
            variances[lane][g] = variance[g];
        }
    }
    BARRIER;
    EACH(g, GROUP) {
        int j = BLOCK_Y * GROUP + g;
        if (j < d) {
            double mean = 0.0, variance = 0.0;
            for (int lane = 0; lane < LANES && mismatch[j] <= 0.0; ++lane) {
                mean += means[lane][g];
                variance += variances[lane][g];
            }
            by_mean[LENGTH(j) * m + BLOCK_X] = mean;
            by_variance[LENGTH(j) * m + BLOCK_X] = variance;
        }
    }
}

// Replace each BASE x BASE block on the diagonal of a lower triangular matrix (n, n) by its inverse.
//
// A block: one of them, a work item for each column. Blocks: n / BASE.
// Floor: 16n BASE bytes; n BASE^2 / 3 flops, but BASE steps that wait for each other, about 20 us.
KERNEL invert_blocks(double *factor, int n) {
    SHARED double block[BASE][BASE], solved[BASE][BASE];
    double *corner = factor + LENGTH(BLOCK_X) * BASE * (LENGTH(n) + 1);
    int size = n - BLOCK_X * BASE < BASE ? n - BLOCK_X * BASE : BASE;
    EACH(item, BASE * BASE) {
        int i = item / BASE, c = item % BASE;
        if (i < size && c <= i) block[i][c] = corner[LENGTH(i) * n + c];
    }
    BARRIER;
    EACH(c, size) {
        for (int i = c; i < size; ++i) {
            double rest = i == c ? 1.0 : 0.0;
            for (int k = c; k < i; ++k) rest -= block[i][k] * solved[k][c];
            solved[i][c] = rest / block[i][i];
            corner[LENGTH(i) * n + c] = solved[i][c];
        }
    }
}

// Fill what is above the diagonal of a matrix (n, n): with 0, or with what is below it.
//
// A block: a tile of BASE x BASE. Blocks: the tiles of the square, row by row.
// Floor: 4n^2 bytes read, 4n^2 written: at n = 10,000 0.17 ms.
KERNEL fill_upper(double *whole, int n, int mirrored) {
    SHARED double tile[BASE][BASE + 1];
    int tiles = (n + BASE - 1) / BASE, row = BLOCK_X / tiles, column = BLOCK_X % tiles;
    EACH(item, BASE * BASE) {
        int i = row * BASE + item / BASE, c = column * BASE + item % BASE;
        if (row >= column && i < n && c < i)
            tile[item / BASE][item % BASE] = mirrored ? whole[LENGTH(i) * n + c] : 0.0;
    }
    BARRIER;
    EACH(item, BASE * BASE) {
        int i = row * BASE + item % BASE, c = column * BASE + item / BASE;
        if (row >= column && i < n && c < i)
            whole[LENGTH(c) * n + i] = tile[item % BASE][item / BASE];
    }
}
