/* microgpt, trained by plain C on one core: the floor.

   A word is as many rows as it has targets: what stands behind its end changes no loss. GROUP words
   at a time stay in the first-level cache. In attention a vector holds LANES / D heads, and a score
   is repeated over the lanes of its head.                                                         */

#include <math.h>
#include <string.h>
#include <xmmintrin.h>

#include "tiles.h"

enum { E = 16, F = 4 * E, QKV = 3 * E, VP = UP(V), GROUP = 4, ROWS = GROUP * T };

/* The parameters, and with the same layout their gradient and Adam's moments. */
typedef struct {
    float wte[V][E], wpe[T][E], wqkv[E][QKV], wo[E][E], fc1[E][F], fc2[F][E], head[E][VP];
} Net;
enum { SIZE = sizeof(Net) / sizeof(float) };

static Net net, d, m, v;
static float wqkvT[QKV][E], woT[E][E], fc1T[F][E], fc2T[E][F], headT[VP][E];
static float decay1 = 1, decay2 = 1; /* the powers of Adam's betas */

static float x1[ROWS][E], h1[ROWS][E], qkv[ROWS][QKV], o[ROWS][E], x2[ROWS][E], h2[ROWS][E];
static float hidden[ROWS][F], x3[ROWS][E], logits[ROWS][VP], dx[ROWS][E], dh[ROWS][E], dqkv[ROWS][QKV], dhidden[ROWS][F];
static vec p[E / LANES][ROWS * T];
static float r0[ROWS], r1[ROWS], r2[ROWS];

typedef int ivec __attribute__((vector_size(4 * LANES)));

#define ROW(x) (*(vec *)(x)) /* the vector that begins at x */

static inline __attribute__((always_inline)) vec greater(vec x, vec y) {
    ivec first = x > y;
    return (vec)((first & (ivec)x) | (~first & (ivec)y));
}

/* The sum over the D lanes of each head, in each of them. */
static inline __attribute__((always_inline)) vec sum_of_head(vec x) {
    for (int step = 1; step < D; step *= 2) {
        ivec other;
        for (int l = 0; l < LANES; l++) other[l] = l ^ step;
        x += __builtin_shuffle(x, other);
    }
    return x;
}

typedef float vec8 __attribute__((vector_size(32), aligned(4)));
typedef int ivec8 __attribute__((vector_size(32)));

/* Rows k and k + step of a square: what stands off the diagonal of each 2 x 2 block changes places. */
#define EXCHANGE(step, ...)                                                                         \
    for (int k = 0; k < 8; k++)                                                                     \
        if ((k & step) == 0) {                                                                      \
            vec8 top = x[k], low = x[k + step];                                                     \
            x[k] = __builtin_shuffle(top, low, (ivec8){__VA_ARGS__});                               \
            x[k + step] = __builtin_shuffle(top, low, (ivec8){__VA_ARGS__} + step);                 \
        }

/* b = the transpose of a, (rows, cols), in squares of 8. */
static inline __attribute__((always_inline)) void transpose(
    int rows, int cols, const float *a, float *b) {
    for (int i = 0; i < rows; i += 8)
        for (int j = 0; j < cols; j += 8) {
            vec8 x[8];
            for (int k = 0; k < 8; k++) x[k] = *(vec8 *)(a + (i + k) * cols + j);
            EXCHANGE(1, 0, 8, 2, 10, 4, 12, 6, 14)
            EXCHANGE(2, 0, 1, 8, 9, 4, 5, 12, 13)
            EXCHANGE(4, 0, 1, 2, 3, 8, 9, 10, 11)
            for (int k = 0; k < 8; k++) *(vec8 *)(b + (j + k) * rows + i) = x[k];
        }
}

static void transpose_all(void) {
    transpose(E, QKV, net.wqkv[0], wqkvT[0]);
    transpose(E, E, net.wo[0], woT[0]);
    transpose(E, F, net.fc1[0], fc1T[0]);
    transpose(F, E, net.fc2[0], fc2T[0]);
    transpose(E, VP, net.head[0], headT[0]);
}

/* y += x w */
static inline __attribute__((always_inline)) void times(
    int rows, int n_in, int n_out, const float *x, const float *w, float *y) {
    matmul_add(rows, n_out, n_in, x, n_in, 1, w, n_out, y, n_out);
}

/* dw += xᵀ dy */
static inline __attribute__((always_inline)) void weight_gradient(
    int rows, int n_in, int n_out, const float *x, const float *dy, float *dw) {
    matmul_add(n_in, n_out, rows, x, 1, n_in, dy, n_out, dw, n_out);
}

static inline void normalise(int rows, float (*x)[E], float (*y)[E], float *r) {
    for (int i = 0; i < rows; i++) {
        float sum = 0;
        for (int k = 0; k < E; k++) sum += x[i][k] * x[i][k];
        r[i] = 1 / sqrtf(sum / E + 1e-5f);
        for (int k = 0; k < E; k++) y[i][k] = x[i][k] * r[i];
    }
}

/* y = x r, r = (mean(x²) + eps)^-½: dx += r (dy − y mean(y dy)) */
static inline void normalise_back(const float *y, float r, const float *dy, float *dx) {
    float sum = 0;
    for (int k = 0; k < E; k++) sum += y[k] * dy[k];
    for (int k = 0; k < E; k++) dx[k] += r * (dy[k] - y[k] * sum / E);
}

/* Not inlined: gcc takes the bound of an array's row for that of the loop. */
static __attribute__((noinline)) void exp_all(int n, float *x) {
    for (int k = 0; k < n; k++) x[k] = expf(x[k]);
}

static __attribute__((noinline)) void keep_where_positive(int n, const float *y, float *x) {
    for (int k = 0; k < n; k++) x[k] = y[k] > 0 ? x[k] : 0;
}

/* Causal attention of a word of n rows, the heads of one vector; p takes n vectors a row. */
static void attention(int n, const float *q, const float *k, const float *v, vec *p, float *o) {
    for (int i = 0; i < n; i++, p += n, q += QKV, o += E) {
        vec most = {0}, total = {0}, out = {0};
        most -= 1e30f;
        for (int j = 0; j <= i; j++) {
            p[j] = sum_of_head(ROW(q) * ROW(k + j * QKV)) / sqrtf(D);
            most = greater(p[j], most);
        }
        for (int j = 0; j <= i; j++) p[j] -= most;
        exp_all((i + 1) * LANES, (float *)p);
        for (int j = 0; j <= i; j++) total += p[j];
        for (int j = 0; j <= i; j++) {
            p[j] /= total;
            out += p[j] * ROW(v + j * QKV);
        }
        ROW(o) = out;
    }
}

/* dqkv has the layout of qkv, and its k and v are added to. */
static void attention_back(int n, const float *qkv, const vec *p, const float *dout, float *dqkv) {
    for (int i = 0; i < n; i++, p += n) {
        vec dp[T], mean = {0}, dq = {0}, dy = ROW(dout + i * E);
        for (int j = 0; j <= i; j++) {
            dp[j] = sum_of_head(dy * ROW(qkv + j * QKV + 2 * E));
            mean += p[j] * dp[j];
            ROW(dqkv + j * QKV + 2 * E) += p[j] * dy;
        }
        for (int j = 0; j <= i; j++) {
            vec ds = p[j] * (dp[j] - mean) / sqrtf(D);
            dq += ds * ROW(qkv + j * QKV + E);
            ROW(dqkv + j * QKV + E) += ds * ROW(qkv + i * QKV);
        }
        ROW(dqkv + i * QKV) = dq;
    }
}

/* Adds the gradient of the words that start at rows of X; returns the sum of their losses. */
static double group(int n_words, const signed char **X, const signed char **Y, const int *length, float share) {
    int rows = 0;
    signed char id[ROWS], target[ROWS], place[ROWS];
    for (int w = 0; w < n_words; w++)
        for (int t = 0; t < length[w]; t++, rows++) {
            id[rows] = X[w][t], target[rows] = Y[w][t], place[rows] = t;
            for (int k = 0; k < E; k++) x1[rows][k] = net.wte[id[rows]][k] + net.wpe[t][k];
        }
    normalise(rows, x1, x1, r0);
    normalise(rows, x1, h1, r1);
    memset(qkv, 0, rows * sizeof *qkv);
    times(rows, E, QKV, h1[0], net.wqkv[0], qkv[0]);
    for (int w = 0, i = 0; w < n_words; i += length[w++])
        for (int c = 0; c < E / LANES; c++) {
            float *q = qkv[i] + c * LANES;
            attention(length[w], q, q + E, q + 2 * E, p[c] + i * T, o[i] + c * LANES);
        }
    memcpy(x2, x1, rows * sizeof *x2);
    times(rows, E, E, o[0], net.wo[0], x2[0]);
    normalise(rows, x2, h2, r2);
    memset(hidden, 0, rows * sizeof *hidden);
    times(rows, E, F, h2[0], net.fc1[0], hidden[0]);
    keep_where_positive(rows * F, hidden[0], hidden[0]);
    memcpy(x3, x2, rows * sizeof *x3);
    times(rows, F, E, hidden[0], net.fc2[0], x3[0]);
    memset(logits, 0, rows * sizeof *logits);
    times(rows, E, VP, x3[0], net.head[0], logits[0]);

    double loss = 0;
    for (int i = 0; i < rows; i++) {
        float *z = logits[i], most = z[0], total = 0, right = z[target[i]];
        for (int k = 1; k < V; k++) most = z[k] > most ? z[k] : most;
        for (int k = 0; k < VP; k++) z[k] = k < V ? expf(z[k] - most) : 0;
        for (int k = 0; k < VP; k++) total += z[k];
        loss += logf(total) + most - right;
        for (int k = 0; k < VP; k++) z[k] *= share / total;
        z[target[i]] -= share; /* z is dlogits now */
    }

    weight_gradient(rows, E, VP, x3[0], logits[0], d.head[0]);
    memset(dx, 0, rows * sizeof *dx);
    times(rows, VP, E, logits[0], headT[0], dx[0]);
    weight_gradient(rows, F, E, hidden[0], dx[0], d.fc2[0]);
    memset(dhidden, 0, rows * sizeof *dhidden);
    times(rows, E, F, dx[0], fc2T[0], dhidden[0]);
    keep_where_positive(rows * F, hidden[0], dhidden[0]);
    weight_gradient(rows, E, F, h2[0], dhidden[0], d.fc1[0]);
    memset(dh, 0, rows * sizeof *dh);
    times(rows, F, E, dhidden[0], fc1T[0], dh[0]);
    for (int i = 0; i < rows; i++) normalise_back(h2[i], r2[i], dh[i], dx[i]);
    weight_gradient(rows, E, E, o[0], dx[0], d.wo[0]);
    memset(dh, 0, rows * sizeof *dh);
    times(rows, E, E, dx[0], woT[0], dh[0]);
    memset(dqkv, 0, rows * sizeof *dqkv);
    for (int w = 0, i = 0; w < n_words; i += length[w++])
        for (int c = 0, lane = 0; c < E / LANES; c++, lane += LANES)
            attention_back(length[w], qkv[i] + lane, p[c] + i * T, dh[i] + lane, dqkv[i] + lane);
    weight_gradient(rows, E, QKV, h1[0], dqkv[0], d.wqkv[0]);
    memset(dh, 0, rows * sizeof *dh);
    times(rows, QKV, E, dqkv[0], wqkvT[0], dh[0]);
    for (int i = 0; i < rows; i++) {
        float dx0[E] = {0};
        normalise_back(h1[i], r1[i], dh[i], dx[i]);
        normalise_back(x1[i], r0[i], dx[i], dx0);
        for (int k = 0; k < E; k++) d.wte[id[i]][k] += dx0[k], d.wpe[place[i]][k] += dx0[k];
    }
    return loss;
}

/* The mean loss of a batch; its gradient is left in d. */
static double loss_and_gradient(const signed char *X, const signed char *Y, const int *batch, int B) {
    int count = 0;
    double loss = 0;
    transpose_all();
    memset(&d, 0, sizeof d);
    for (int w = 0; w < B; w++)
        for (int t = 0; t < T; t++) count += Y[batch[w] * T + t] >= 0;
    for (int w = 0; w < B; w += GROUP) {
        int n_words = B - w < GROUP ? B - w : GROUP, length[GROUP] = {0};
        const signed char *x[GROUP], *y[GROUP];
        for (int g = 0; g < n_words; g++) {
            x[g] = X + batch[w + g] * T, y[g] = Y + batch[w + g] * T;
            while (length[g] < T && y[g][length[g]] >= 0) length[g]++;
        }
        loss += group(n_words, x, y, length, 1.0f / count);
    }
    return loss / count;
}

/* Between a flat vector, whose head has V columns, and the net. */
static void copy(Net *net, float *flat, int from_flat) {
    int before = (float *)net->head - (float *)net;
    if (from_flat) memset(net, 0, sizeof *net);
    for (int k = 0; k < before + E * V; k++) {
        float *ours = k < before ? (float *)net + k : &net->head[(k - before) / V][(k - before) % V];
        *(from_flat ? ours : flat + k) = *(from_flat ? flat + k : ours);
    }
}

void load(float *flat) { copy(&net, flat, 1); }

float gradient(const signed char *X, const signed char *Y, const int *batch, int B, float *flat) {
    float loss = loss_and_gradient(X, Y, batch, B);
    copy(&d, flat, 0);
    return loss;
}

/* Subnormals are zero meanwhile, as in XLA: they are slow, and -ffast-math has no square root for them. */
void train(const signed char *X, const signed char *Y, const int *batches, int B, int n_steps, float rate, float *losses) {
    float *restrict w = (float *)&net, *restrict g = (float *)&d, *restrict m1 = (float *)&m, *restrict m2 = (float *)&v;
    unsigned int before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    for (int step = 0; step < n_steps; step++) {
        losses[step] = loss_and_gradient(X, Y, batches + step * B, B);
        decay1 *= 0.85f, decay2 *= 0.99f;
        float c1 = rate / (1 - decay1), c2 = 1 / (1 - decay2);
        for (int k = 0; k < SIZE; k++) {
            m1[k] = 0.85f * m1[k] + 0.15f * g[k];
            m2[k] = 0.99f * m2[k] + 0.01f * g[k] * g[k];
            w[k] -= c1 * m1[k] / (sqrtf(m2[k] * c2) + 1e-8f);
        }
    }
    _mm_setcsr(before);
}
