// Kernels for the small models of many searches at once, which follow those in `kernels.cu`: the same
// rules, and one launch for all models. `together.py` says what each is for.
//
// Arrays have one more axis in front, of the models, and all models the same shape: those with fewer
// observations or coordinates are padded. BLOCK_Y is the model. What there is to know of each is in a row
// of `models`: HEAD numbers, and ROWS rows of d numbers. Beyond a model's own number of observations the
// covariance is the identity, and all sums leave that out; coordinates beyond its own are equal everywhere.

#define HEAD 6
#define ROWS 5
#define PARTS 8
#define FEW 512
#define NARROW 32

// The head: rows of the covariance, and how many of them were observed; the noise in units of the signal;
// then what the acquisition needs: the signal's variance, what is to be improved on, the noise's variance.
#define AT_COUNT 0
#define AT_OBSERVED 1
#define AT_NOISE 2
#define AT_VARIANCE 3
#define AT_BEST 4
#define AT_SPREAD 5

// The rows: length-scales, exponents a and b of the warping, mismatches, and whether the climb moves it.
#define ROW_LS 0
#define ROW_A 1
#define ROW_B 2
#define ROW_MISMATCH 3
#define ROW_MOVES 4

// The sums over a model's observations: y alpha, alpha alpha, the trace of the precision, ln det W; then rows of d.
#define SUMS 4

INLINE const double *model_of(const double *models, int d) {
    return models + LENGTH(BLOCK_Y) * (HEAD + ROWS * d);
}

INLINE const double *row_of(const double *model, int row, int d) { return model + HEAD + row * d; }

// A coordinate away from the edges, where the warping's slope may be infinite; see `gp/warping.py`.
INLINE double inner_of(double x) {
    return x < 1e-7 ? 1e-7 : x > 1.0 - 1e-7 ? 1.0 - 1e-7 : x;
}

// ln(1 - t) from ln t < 0, to a few eps on both sides of t = 1/2.
INLINE double log_rest(double log_t) {
    return log_t < -0.6931471805599453 ? log1p(-exp(log_t)) : log(-expm1(log_t));
}

// Coordinate j of a point, warped and scaled; that of a category stays.
INLINE double placed(const double *model, int j, double x, int d) {
    if (row_of(model, ROW_MISMATCH, d)[j] > 0.0) return x;
    double log_t = row_of(model, ROW_A, d)[j] * log(inner_of(x));
    return -expm1(row_of(model, ROW_B, d)[j] * log_rest(log_t)) / row_of(model, ROW_LS, d)[j];
}

// The derivative of the warped coordinate, before it is scaled, by x.
INLINE double slope_of_warping(const double *model, int j, double x, int d) {
    double a = row_of(model, ROW_A, d)[j], b = row_of(model, ROW_B, d)[j];
    double log_x = log(inner_of(x));
    return a * b * exp((a - 1.0) * log_x + (b - 1.0) * log_rest(a * log_x));
}

// ln(phi(t) + t Phi(t)), and its derivative; see `acquisition/log_ei.py`.
INLINE double log_h(double t, double *slope) {
    if (t >= -4.0) {
        double below = 0.5 * erfc(-t * 0.7071067811865476);
        double h = exp(-0.5 * t * t - 0.9189385332046727) + t * below;
        *slope = below / h;
        return log(h);
    }
    double x = -t, fraction = 0.0;
    for (int level = 40; level > 1; --level) fraction = level / (x + fraction);
    double q = 1.0 / (x + fraction);
    *slope = 1.0 / q;
    return log(q / (x + q)) - 0.5 * x * x - 0.9189385332046727;
}

// ln AEI from a mean and from the squares that a variance lacks, and its derivatives by the mean and by
// the variance in units of the signal's.
INLINE double log_aei(const double *model, double mean, double squares, double *over_mean,
                      double *over_spread) {
    double variance = model[AT_VARIANCE], noise = model[AT_SPREAD], slope;
    double spread = 2.0 - squares;
    if (spread < 1e-12) spread = 1e-12;
    double deviation = sqrt(variance * spread), t = (model[AT_BEST] - mean) / deviation;
    double value = log(deviation) + log_h(t, &slope), by_spread = 0.0;
    if (noise > 0.0) {
        double ratio = variance * spread / noise;
        double left = exp(-0.5 * log1p(ratio)), news = -expm1(-0.5 * log1p(ratio));
        value += log(news);
        by_spread = 0.5 * left / ((1.0 + ratio) * noise * news);
    }
    *over_mean = -slope / deviation;
    *over_spread = variance * (0.5 * (1.0 - t * slope) / (deviation * deviation) + by_spread);
    return value;
}

// Fill out (d, m) of each model with its points (m, d), warped and scaled.
//
// A block: COLUMNS numbers. Blocks: (m d / COLUMNS, models).
// Floor: 16md bytes, 150md flops: 64 models of 512 candidates, d = 20 0.003 ms.
KERNEL place_each(const double *points, const double *models, double *out, int m, int d) {
    EACH(item, COLUMNS) {
        int place = BLOCK_X * COLUMNS + item, j = place / m, c = place % m;
        if (j < d) {
            double x = points[(LENGTH(BLOCK_Y) * m + c) * d + j];
            out[(LENGTH(BLOCK_Y) * d + j) * m + c] = placed(model_of(models, d), j, x, d);
        }
    }
}

// Fill out (n, m) of each model with k(u, z), 0 in rows beyond its own. With `square` u and z are the
// same: the noise is added on the diagonal, and beyond the model's own rows the diagonal is 1.
//
// A block: COLUMNS columns of STRIP rows. Blocks: (m / COLUMNS times n / STRIP, models).
// Floor: 8nm bytes, nm (3d + 52) flops: 64 models, n = m = 200, d = 20 0.008 ms.
KERNEL correlations_each(const double *u, const double *z, const double *models, double *out,
                         int n, int m, int d, double constant, int square) {
    EACH(item, COLUMNS) {
        const double *model = model_of(models, d);
        int across = (m + COLUMNS - 1) / COLUMNS, count = (int)model[AT_COUNT];
        int c = BLOCK_X % across * COLUMNS + item, first = BLOCK_X / across * STRIP;
        if (c < m) {
            double r2[STRIP];
            strip_distances(u + LENGTH(BLOCK_Y) * d * n, n, first, z + LENGTH(BLOCK_Y) * d * m, m,
                            c, row_of(model, ROW_MISMATCH, d), d, r2);
            for (int r = 0; r < STRIP && first + r < n; ++r) {
                double a = sqrt(5.0 * r2[r]);
                double k = (1.0 + a + a * a / 3.0) * exp(-a) + constant;
                if (square && first + r == c) k += model[AT_NOISE];
                if (first + r >= count || (square && c >= count))
                    k = square && first + r == c ? 1.0 : 0.0;
                out[(LENGTH(BLOCK_Y) * n + first + r) * m + c] = k;
            }
        }
    }
}

// Multiply precisions p (n, n) with values y (n,): alpha (n,), and sum up over a model's observations.
//
// A block: a model. w is the inverse factor. sums: SUMS + 3d numbers a model, of which SUMS are filled.
// Blocks: (1, models).
// Floor: 8n^2 bytes: 64 models, n = 200 0.004 ms.
KERNEL sum_each(const double *p, const double *w, const double *y, const double *models,
                double *alpha, double *sums, int n, int d) {
    SHARED double part[PARTS][SUMS];
    const double *mine = p + LENGTH(BLOCK_Y) * n * n, *value = y + LENGTH(BLOCK_Y) * n;
    const double *factor = w + LENGTH(BLOCK_Y) * n * n;
    double *weight = alpha + LENGTH(BLOCK_Y) * n;
    int count = (int)model_of(models, d)[AT_COUNT];
    EACH(i, n) {
        double total = 0.0;
        for (int c = 0; c < count; ++c) total += mine[LENGTH(c) * n + i] * value[c];
        weight[i] = i < count ? total : 0.0;
    }
    BARRIER;
    EACH(lane, PARTS) {
        double total[SUMS];
        for (int s = 0; s < SUMS; ++s) total[s] = 0.0;
        for (int i = lane; i < count; i += PARTS) {
            total[0] += value[i] * weight[i];
            total[1] += weight[i] * weight[i];
            total[2] += mine[LENGTH(i) * n + i];
            total[3] += log(factor[LENGTH(i) * n + i]);
        }
        for (int s = 0; s < SUMS; ++s) part[lane][s] = total[s];
    }
    BARRIER;
    EACH(s, SUMS) {
        double total = 0.0;
        for (int lane = 0; lane < PARTS; ++lane) total += part[lane][s];
        sums[LENGTH(BLOCK_Y) * (SUMS + 3 * d) + s] = total;
    }
}

// Replace precisions p (n, n) by the weights of the pairs; see `weigh`. The scale is
// (count / 2 + shape) / (rate + y alpha / 2), from the sums; 0 beyond a model's own observations.
//
// A block: COLUMNS columns of STRIP rows. Blocks: (n / COLUMNS times n / STRIP, models).
// Floor: 16n^2 bytes, n^2 (3d + 51) flops: 64 models, n = 200, d = 20 0.009 ms.
KERNEL weigh_each(const double *u, const double *models, const double *alpha, const double *sums,
                  double *p, int n, int d, double shape, double rate) {
    EACH(item, COLUMNS) {
        const double *model = model_of(models, d), *weight = alpha + LENGTH(BLOCK_Y) * n;
        int across = (n + COLUMNS - 1) / COLUMNS, count = (int)model[AT_COUNT];
        int c = BLOCK_X % across * COLUMNS + item, first = BLOCK_X / across * STRIP;
        if (c < n) {
            double r2[STRIP];
            const double *own = u + LENGTH(BLOCK_Y) * d * n;
            strip_distances(own, n, first, own, n, c, row_of(model, ROW_MISMATCH, d), d, r2);
            double fit = sums[LENGTH(BLOCK_Y) * (SUMS + 3 * d)];
            double mine = (0.5 * count + shape) / (rate + 0.5 * fit) * weight[c];
            for (int r = 0; r < STRIP && first + r < n; ++r) {
                double *entry = p + (LENGTH(BLOCK_Y) * n + first + r) * n + c;
                int there = first + r < count && c < count;
                *entry = there ? (mine * weight[first + r] - *entry) * slope_at(r2[r]) : 0.0;
            }
        }
    }
}

// Sum up q_ik (u_ji - u_jk), and q_ik times what coordinate j adds to the squared distance, over the
// observations k, into moments and spreads (d, n) of each model; see `pull`.
//
// A block: COLUMNS points i of GROUP coordinates. Blocks: (n / COLUMNS times d / GROUP, models).
// Floor: 8n^2 d / GROUP bytes, 4n^2 d flops: 64 models, n = 200, d = 20 0.011 ms.
KERNEL pull_each(const double *u, const double *models, const double *q, double *moments,
                 double *spreads, int n, int d) {
    EACH(item, COLUMNS) {
        const double *model = model_of(models, d), *own = u + LENGTH(BLOCK_Y) * d * n;
        const double *mismatch = row_of(model, ROW_MISMATCH, d);
        int across = (n + COLUMNS - 1) / COLUMNS, count = (int)model[AT_COUNT];
        int i = BLOCK_X % across * COLUMNS + item, group = BLOCK_X / across * GROUP;
        if (i < n) {
            double first[GROUP], second[GROUP], here[GROUP];
            for (int g = 0; g < GROUP; ++g) {
                first[g] = second[g] = 0.0;
                here[g] = own[LENGTH(group + g < d ? group + g : d - 1) * n + i];
            }
            for (int k = 0; k < count; ++k) {
                double weight = q[(LENGTH(BLOCK_Y) * n + k) * n + i];
                for (int g = 0; g < GROUP; ++g) {
                    int j = group + g < d ? group + g : d - 1;
                    double there = own[LENGTH(j) * n + k], penalty = mismatch[j];
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

// Sum up, for each coordinate, the spreads, and the moments times the derivatives of the scaled
// coordinate by ln a and by ln b, twice: the rows of the sums. Points are (n, d).
//
// A block: a coordinate of a model. Blocks: (d, models).
// Floor: 24nd bytes, 250nd flops: 64 models, n = 200, d = 20 0.002 ms.
KERNEL chain_each(const double *points, const double *models, const double *moments,
                  const double *spreads, double *sums, int n, int d) {
    SHARED double part[LANES][3];
    const double *model = model_of(models, d);
    int j = BLOCK_X, count = (int)model[AT_COUNT];
    EACH(lane, LANES) {
        double a = row_of(model, ROW_A, d)[j], b = row_of(model, ROW_B, d)[j], total[3];
        int is_numeric = row_of(model, ROW_MISMATCH, d)[j] <= 0.0;
        for (int s = 0; s < 3; ++s) total[s] = 0.0;
        for (int i = lane; i < count; i += LANES) {
            size_t place = (LENGTH(BLOCK_Y) * d + j) * n + i;
            total[0] += spreads[place];
            if (is_numeric) {
                double log_t = a * log(inner_of(points[(LENGTH(BLOCK_Y) * n + i) * d + j]));
                double rest = log_rest(log_t), moment = moments[place];
                total[1] += moment * b * exp((b - 1.0) * rest + log_t) * log_t;
                total[2] -= moment * exp(b * rest) * b * rest;
            }
        }
        for (int s = 0; s < 3; ++s) part[lane][s] = total[s];
    }
    BARRIER;
    EACH(s, 3) {
        double total = 0.0, twice = 2.0 / row_of(model, ROW_LS, d)[j];
        for (int lane = 0; lane < LANES; ++lane) total += part[lane][s];
        size_t place = LENGTH(BLOCK_Y) * (SUMS + 3 * d) + SUMS + s * d + j;
        sums[place] = s ? twice * total : total;
    }
}

// Explain what was observed: alpha = W^T (W y), of the observed rows alone, (n,), and the squares of W y.
//
// What is pending counts as if it had come out as expected, so that its part of W y is 0: the mean stays.
// A block: a model. turned: the transpose of w. told (n + 1,): alpha, and the sum of squares.
// Blocks: (1, models).
// Floor: 16n^2 bytes: 64 models, n = 200 0.009 ms.
KERNEL explain_each(const double *w, const double *turned, const double *y, const double *models,
                    double *told, int n, int d) {
    SHARED double v[FEW], part[PARTS];
    const double *factor = w + LENGTH(BLOCK_Y) * n * n, *value = y + LENGTH(BLOCK_Y) * n;
    const double *other = turned + LENGTH(BLOCK_Y) * n * n;
    double *mine = told + LENGTH(BLOCK_Y) * (n + 1);
    int observed = (int)model_of(models, d)[AT_OBSERVED];
    EACH(i, n) {
        double total = 0.0;
        for (int c = 0; c <= i && i < observed; ++c) total += other[LENGTH(c) * n + i] * value[c];
        v[i] = total;
    }
    BARRIER;
    EACH(i, n) {
        double total = 0.0;
        for (int c = i; c < observed; ++c) total += factor[LENGTH(c) * n + i] * v[c];
        mine[i] = total;
    }
    BARRIER;
    EACH(lane, PARTS) {
        double total = 0.0;
        for (int i = lane; i < observed; i += PARTS) total += v[i] * v[i];
        part[lane] = total;
    }
    BARRIER;
    EACH(item, 1) {
        double total = 0.0;
        for (int lane = 0; lane < PARTS; ++lane) total += part[lane];
        mine[n + item] = total;
    }
}

// Fill scores (m,) of each model with ln AEI, from k (n, m) and v = W k.
//
// A block: COLUMNS candidates. told: as `explain_each` has it. Blocks: (m / COLUMNS, models).
// Floor: 16nm bytes, 4nm flops: 64 models, n = 200, 512 candidates 0.022 ms.
KERNEL score_each(const double *k, const double *v, const double *told, const double *models,
                  double *scores, int n, int m, int d) {
    EACH(item, COLUMNS) {
        const double *model = model_of(models, d), *alpha = told + LENGTH(BLOCK_Y) * (n + 1);
        int c = BLOCK_X * COLUMNS + item, count = (int)model[AT_COUNT];
        if (c < m) {
            double mean = 0.0, squares = 0.0, unused[2];
            for (int i = 0; i < count; ++i) {
                size_t place = (LENGTH(BLOCK_Y) * n + i) * m + c;
                mean += alpha[i] * k[place];
                squares += v[place] * v[place];
            }
            scores[LENGTH(BLOCK_Y) * m + c] = log_aei(model, mean, squares, unused, unused + 1);
        }
    }
}

// What a block knows of a model while it climbs: observed points u (d, n), the inverse factor w (n, n), its
// transpose, and alpha.
typedef struct {
    const double *model, *u, *w, *turned, *alpha;
    int n, d, count;
} Known;

// What a block shares while it evaluates the acquisition at a point of its own.
typedef struct {
    double k[FEW], v[FEW], of_mean[FEW], of_variance[FEW];
    double z[NARROW], part[(NARROW + 1) * PARTS][2];
} Work;

// Compute ln AEI at x, and its gradient, 0 where it is not moved; all work items together.
INLINE void promise(const Known known, const double *x, Work *work, double *value,
                    double *gradient) {
    const double *model = known.model;
    int n = known.n, d = known.d, count = known.count;
    EACH(j, d) work->z[j] = placed(model, j, x[j], d);
    BARRIER;
    EACH(i, count) {
        double r2 = squared_distance(known.u, n, i, work->z, 1, 0,
                                     row_of(model, ROW_MISMATCH, d), d);
        double a = sqrt(5.0 * r2), decay = exp(-a), slope = -(5.0 / 6.0) * (1.0 + a) * decay;
        work->k[i] = (1.0 + a + a * a / 3.0) * decay + 1.0;
        work->of_mean[i] = slope * known.alpha[i];
        work->of_variance[i] = slope;
    }
    BARRIER;
    EACH(i, count) {
        double total = 0.0;
        for (int c = 0; c <= i; ++c) total += known.turned[LENGTH(c) * n + i] * work->k[c];
        work->v[i] = total;
    }
    BARRIER;
    EACH(i, count) {
        double total = 0.0;
        for (int c = i; c < count; ++c) total += known.w[LENGTH(c) * n + i] * work->v[c];
        work->of_variance[i] *= total;
    }
    BARRIER;
    EACH(item, (d + 1) * PARTS) {
        int j = item / PARTS;
        double first = 0.0, second = 0.0;
        for (int i = item % PARTS; i < count; i += PARTS) {
            if (j < d) {
                double difference = work->z[j] - known.u[LENGTH(j) * n + i];
                first += work->of_mean[i] * difference;
                second += work->of_variance[i] * difference;
            } else {
                first += known.alpha[i] * work->k[i];
                second += work->v[i] * work->v[i];
            }
        }
        work->part[item][0] = first;
        work->part[item][1] = second;
    }
    BARRIER;
    EACH(j, d + 1) {
        double over_mean, over_spread, mean = 0.0, squares = 0.0, first = 0.0, second = 0.0;
        for (int p = 0; p < PARTS; ++p) {
            mean += work->part[d * PARTS + p][0];
            squares += work->part[d * PARTS + p][1];
            first += work->part[j * PARTS + p][0];
            second += work->part[j * PARTS + p][1];
        }
        double found = log_aei(model, mean, squares, &over_mean, &over_spread);
        if (j == d) {
            *value = found;
        } else if (row_of(model, ROW_MOVES, d)[j] > 0.0) {
            double chain = slope_of_warping(model, j, x[j], d) / row_of(model, ROW_LS, d)[j];
            gradient[j] = (2.0 * over_mean * first - 4.0 * over_spread * second) * chain;
        } else {
            gradient[j] = 0.0;
        }
    }
    BARRIER;
}

// Where one climb is; see `acquisition/climb.py`.
typedef struct {
    double h[NARROW][NARROW];
    double here[NARROW], there[NARROW], gradient[NARROW], fresh[NARROW];
    double direction[NARROW], bent[NARROW];
    double value, reached, step, factor, rho, length;
    int quiet, ignorant, gains, learns, done;
} Climb;

// Whether a coordinate at an edge wants to leave the unit cube.
INLINE int is_held(double here, double gradient) {
    return (here <= 0.0 && gradient < 0.0) || (here >= 1.0 && gradient > 0.0);
}

INLINE double norm_of(const double *a, int d) {
    double square = 0.0;
    for (int j = 0; j < d; ++j) square += a[j] * a[j];
    return sqrt(square);
}

// Choose the next step along the direction; done where there is none.
INLINE void stride(Climb *climb, int d) {
    double rise = 0.0, longest = 0.0;
    for (int j = 0; j < d; ++j) {
        rise += climb->direction[j] * climb->gradient[j];
        longest = fmax(longest, fabs(climb->direction[j]));
    }
    if (longest > 0.0 && !(rise > 0.0)) {
        longest = 0.0;
        for (int j = 0; j < d; ++j) {
            climb->direction[j] = 0.01 * climb->gradient[j];
            longest = fmax(longest, fabs(climb->direction[j]));
        }
    }
    climb->done = !(longest > 0.0);
    double shrunk = climb->done ? 0.0 : climb->step * fmin(1.0, 0.3 / longest);
    for (int j = 0; j < d; ++j)
        climb->there[j] = fmin(fmax(climb->here[j] + shrunk * climb->direction[j], 0.0), 1.0);
}

// Judge the step, and say what is to be done of it.
INLINE void judge(Climb *climb, int d, double tolerance) {
    double expected = 0.0, curvature = 0.0, quadratic = 0.0;
    for (int j = 0; j < d; ++j) {
        double moved = climb->there[j] - climb->here[j];
        double bent = climb->gradient[j] - climb->fresh[j];
        expected += moved * climb->gradient[j];
        curvature += moved * bent;
        quadratic += climb->bent[j] * bent;
    }
    double gain = climb->reached - climb->value;
    climb->gains = gain > 0.0 && gain >= 1e-4 * expected;
    climb->learns = 0;
    climb->length = 0.0;
    if (climb->gains) {
        climb->learns = curvature > 1e-12;
        climb->rho = 1.0 / (climb->learns ? curvature : 1.0);
        climb->factor = climb->rho + climb->rho * climb->rho * quadratic;
        climb->value = climb->reached;
        climb->step = 1.0;
        climb->ignorant = 0;
        climb->quiet = gain < tolerance ? climb->quiet + 1 : 0;
        climb->done = climb->quiet == 2;
        return;
    }
    climb->step *= 0.3;
    if (climb->step < 1e-4) {
        // What was learned of the curvature misleads; whoever had learned nothing is at the top.
        climb->done = climb->ignorant;
        climb->length = 0.1 * 0.3;
        climb->step = 1.0;
        climb->ignorant = 1;
    }
}

// Bring row i of the inverse curvature up to date.
INLINE void learn(Climb *climb, int i, int d) {
    double norm = climb->length > 0.0 ? fmax(norm_of(climb->gradient, d), 1e-12) : 1.0;
    double moved = climb->there[i] - climb->here[i];
    for (int j = 0; j < d; ++j) {
        double other = climb->there[j] - climb->here[j];
        if (climb->length > 0.0) climb->h[i][j] = i == j ? climb->length / norm : 0.0;
        if (climb->learns)
            climb->h[i][j] += climb->factor * moved * other -
                              climb->rho * (climb->bent[i] * other + moved * climb->bent[j]);
    }
}

// Climb from points (s, d) of each model to maxima of ln AEI in the unit cube, in place.
//
// A block: one point, to the end of its climb. told: as `explain_each` has it. Blocks: (s, models).
// Floor: 8n^2 bytes of the cache a round; 64 models of 6 points, n = 200, 25 rounds 1 ms.
KERNEL climb_each(double *points, const double *u, const double *w, const double *turned,
                  const double *told, const double *models, int n, int s, int d, int rounds,
                  double tolerance) {
    SHARED Work work;
    SHARED Climb climb;
    const double *model = model_of(models, d);
    size_t apart = LENGTH(BLOCK_Y) * n * n;
    Known known = {model, u + LENGTH(BLOCK_Y) * d * n, w + apart, turned + apart,
                   told + LENGTH(BLOCK_Y) * (n + 1), n, d, (int)model[AT_COUNT]};
    double *point = points + (LENGTH(BLOCK_Y) * s + BLOCK_X) * d;
    EACH(j, NARROW) climb.here[j] = climb.there[j] = j < d ? point[j] : 0.0;
    BARRIER;
    promise(known, climb.here, &work, &climb.value, climb.gradient);
    EACH(item, 1) {
        climb.length = 0.1;
        climb.step = 1.0;
        climb.ignorant = 1;
        climb.learns = climb.quiet = climb.done = item;
    }
    BARRIER;
    EACH(i, d) learn(&climb, i, d);
    BARRIER;
    for (int round = 0; round < rounds && !climb.done; ++round) {
        EACH(i, d) {
            double total = 0.0;
            for (int j = 0; j < d; ++j)
                if (!is_held(climb.here[j], climb.gradient[j]))
                    total += climb.h[i][j] * climb.gradient[j];
            climb.direction[i] = is_held(climb.here[i], climb.gradient[i]) ? 0.0 : total;
        }
        BARRIER;
        EACH(item, 1) stride(&climb, d);
        BARRIER;
        if (climb.done) break;
        promise(known, climb.there, &work, &climb.reached, climb.fresh);
        EACH(i, d) {
            double total = 0.0;
            for (int j = 0; j < d; ++j)
                total += climb.h[i][j] * (climb.gradient[j] - climb.fresh[j]);
            climb.bent[i] = total;
        }
        BARRIER;
        EACH(item, 1) judge(&climb, d, tolerance);
        BARRIER;
        EACH(i, d) learn(&climb, i, d);
        BARRIER;
        EACH(j, d) {
            if (climb.gains) {
                climb.here[j] = climb.there[j];
                climb.gradient[j] = climb.fresh[j];
            }
        }
        BARRIER;
    }
    EACH(j, d) point[j] = climb.here[j];
}
