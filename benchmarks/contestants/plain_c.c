/* The seeds' network, trained by plain C: the floor.

   The sizes are constants of the compilation (-DB=32 ...), so gcc unrolls and vectorises every loop.
   The batch is worked in blocks of ROWS rows that stay in the second-level cache; with more than one
   block the threads share them, each with a gradient of its own. Rows of the hidden layer and of the
   vocabulary are padded to whole vectors (HP, VP), the padding stays zero.                          */

#include <math.h>
#include <omp.h>
#include <string.h>

#include "tiles.h"

enum { K = T * E, HP = UP(H), VP = UP(V), KP = UP(K), ROWS = 48, BLOCKS = (B + ROWS - 1) / ROWS, MIN_BLOCKS = 4 };

/* The parameters, and with the same layout their gradient. */
typedef struct {
    float C[V][E];
    float ALIGNED W1[K][HP], b1[HP], gain[HP], bias[HP], W2[H][VP], b2[VP];
} Net;

static Net net;
static float ALIGNED W1T[HP][KP], W2T[VP][HP]; /* transposed, for the backward */
static float ALIGNED pre[B][HP], h[B][HP], emb[B][KP];
static float ALIGNED mean[HP], r[HP], scale[HP], shift[HP], along[HP], apart[HP];
static float ALIGNED means[BLOCKS][HP], squares[BLOCKS][HP];
static Net *grads; /* one for each thread */

static inline int rows_of(int block) { return block == BLOCKS - 1 ? B - block * ROWS : ROWS; }

/* Embedding and hidden layer of a block, with its mean and its squared distances from it. */
static void hidden(int block, const signed char *X) {
    int first = block * ROWS, rows = rows_of(block);
    float *restrict m = means[block], *restrict s = squares[block];
    for (int i = first; i < first + rows; i++) {
        for (int t = 0; t < T; t++)
            for (int e = 0; e < E; e++) emb[i][t * E + e] = net.C[X[i * T + t]][e];
        for (int j = 0; j < HP; j++) pre[i][j] = net.b1[j];
    }
    matmul_add(rows, HP, K, emb[first], KP, 1, net.W1[0], HP, pre[first], HP);
    memset(m, 0, sizeof means[0]);
    memset(s, 0, sizeof squares[0]);
    for (int i = first; i < first + rows; i++)
        for (int j = 0; j < HP; j++) m[j] += pre[i][j];
    for (int j = 0; j < HP; j++) m[j] /= rows;
    for (int i = first; i < first + rows; i++)
        for (int j = 0; j < HP; j++) s[j] += (pre[i][j] - m[j]) * (pre[i][j] - m[j]);
}

/* Mean and deviation of the batch from those of the blocks. */
static void statistics(void) {
    float ALIGNED total[HP] = {0};
    for (int block = 0; block < BLOCKS; block++)
        for (int j = 0; j < HP; j++) total[j] += rows_of(block) * means[block][j];
    for (int j = 0; j < HP; j++) mean[j] = total[j] / B;
    memset(total, 0, sizeof total);
    for (int block = 0; block < BLOCKS; block++)
        for (int j = 0; j < HP; j++) {
            float off = means[block][j] - mean[j];
            total[j] += squares[block][j] + rows_of(block) * off * off;
        }
    for (int j = 0; j < HP; j++) {
        r[j] = 1 / sqrtf(total[j] / (B - 1) + 1e-5f);
        scale[j] = net.gain[j] * r[j];
        shift[j] = net.bias[j] - scale[j] * mean[j];
    }
}

/* From the statistics to the loss, and back to dhpreact, which takes the place of h. */
static double head(int block, const signed char *Y, Net *d) {
    int first = block * ROWS, rows = rows_of(block);
    float ALIGNED logits[ROWS][VP], dh[ROWS][HP];
    double loss = 0;
    for (int i = 0; i < rows; i++) {
        float *restrict x = pre[first + i], *restrict y = h[first + i];
        for (int j = 0; j < HP; j++) y[j] = tanhf(scale[j] * x[j] + shift[j]);
        for (int v = 0; v < VP; v++) logits[i][v] = net.b2[v];
    }
    matmul_add(rows, VP, H, h[first], HP, 1, net.W2[0], VP, logits[0], VP);
    for (int i = 0; i < rows; i++) {
        float *z = logits[i], most = z[0], total = 0, probs[VP];
        for (int v = 1; v < V; v++) most = z[v] > most ? z[v] : most;
        for (int v = 0; v < VP; v++) probs[v] = expf(z[v] - most);
        for (int v = 0; v < V; v++) total += probs[v];
        loss += logf(total) + most - z[Y[first + i]];
        for (int v = 0; v < VP; v++) z[v] = v < V ? probs[v] / (total * B) : 0;
        z[Y[first + i]] -= 1.0f / B; /* z is dlogits now */
        for (int v = 0; v < VP; v++) d->b2[v] += z[v];
    }
    matmul_add(H, VP, rows, h[first], 1, HP, logits[0], VP, d->W2[0], VP);
    memset(dh, 0, sizeof dh);
    matmul_add(rows, HP, V, logits[0], VP, 1, W2T[0], HP, dh[0], HP);
    for (int i = 0; i < rows; i++) {
        float *restrict x = pre[first + i], *restrict y = h[first + i];
        for (int j = 0; j < HP; j++) {
            y[j] = (1 - y[j] * y[j]) * dh[i][j];
            d->gain[j] += y[j] * (x[j] - mean[j]); /* times r, in step */
            d->bias[j] += y[j];
        }
    }
    return loss;
}

/* BatchNorm's closed form, the hidden layer's gradients, and the embedding's. */
static void back(int block, const signed char *X, Net *d) {
    int first = block * ROWS, rows = rows_of(block);
    float ALIGNED demb[ROWS][KP], dpre[ROWS][HP];
    for (int i = 0; i < rows; i++) {
        float *restrict x = pre[first + i], *restrict y = h[first + i], *restrict z = dpre[i];
        for (int j = 0; j < HP; j++) {
            z[j] = scale[j] * y[j] - along[j] * x[j] - apart[j];
            d->b1[j] += z[j];
        }
    }
    matmul_add(K, HP, rows, emb[first], 1, KP, dpre[0], HP, d->W1[0], HP);
    memset(demb, 0, sizeof demb);
    matmul_add(rows, KP, H, dpre[0], HP, 1, W1T[0], KP, demb[0], KP);
    for (int i = 0; i < rows; i++)
        for (int t = 0; t < T; t++)
            for (int e = 0; e < E; e++) d->C[X[(first + i) * T + t]][e] += demb[i][t * E + e];
}

/* Add what the threads have, each in its own, into the first. */
static void gather(float *sums, int stride, int n) {
    for (int t = 1; t < omp_get_num_threads(); t++)
        for (int j = 0; j < n; j++) sums[j] += sums[t * stride + j];
}

static double step(const signed char *X, const signed char *Y, float rate, int threads) {
    static double losses[256];
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        int me = omp_get_thread_num();
        Net *d = grads + me;
        memset(d, 0, sizeof *d);
        losses[me] = 0;
#pragma omp for schedule(static)
        for (int block = 0; block < BLOCKS; block++) hidden(block, X);
#pragma omp single
        {
            statistics();
            for (int k = 0; k < K; k++)
                for (int j = 0; j < H; j++) W1T[j][k] = net.W1[k][j];
            for (int j = 0; j < H; j++)
                for (int v = 0; v < V; v++) W2T[v][j] = net.W2[j][v];
        }
#pragma omp for schedule(static)
        for (int block = 0; block < BLOCKS; block++) losses[me] += head(block, Y, d);
#pragma omp single
        {
            gather(grads->gain, sizeof(Net) / sizeof(float), 2 * HP); /* and bias, next to it */
            for (int j = 0; j < HP; j++) {
                grads->gain[j] *= r[j];
                along[j] = scale[j] * r[j] * grads->gain[j] / (B - 1);
                apart[j] = scale[j] * grads->bias[j] / B - along[j] * mean[j];
            }
            /* what is added to grads[0] must not be added again */
            for (int t = 1; t < omp_get_num_threads(); t++)
                memset(grads[t].gain, 0, 2 * sizeof grads->gain);
        }
#pragma omp for schedule(static)
        for (int block = 0; block < BLOCKS; block++) back(block, X, d);
#pragma omp single
        {
            float *p = (float *)&net, *dp = (float *)grads;
            gather(dp, sizeof(Net) / sizeof(float), sizeof(Net) / sizeof(float));
            for (size_t i = 0; i < sizeof(Net) / sizeof(float); i++) p[i] -= rate * dp[i];
        }
    }
    for (int t = 1; t < threads; t++) losses[0] += losses[t];
    return losses[0] / B;
}

/* params: C, W1, b1, gain, bias, W2, b2 one after the other, without padding; copied in. */
void load(const float *params) {
    memset(&net, 0, sizeof net);
    for (int v = 0; v < V; v++, params += E) memcpy(net.C[v], params, sizeof(float) * E);
    for (int k = 0; k < K; k++, params += H) memcpy(net.W1[k], params, sizeof(float) * H);
    float *rows[] = {net.b1, net.gain, net.bias};
    for (int i = 0; i < 3; i++, params += H) memcpy(rows[i], params, sizeof(float) * H);
    for (int j = 0; j < H; j++, params += V) memcpy(net.W2[j], params, sizeof(float) * V);
    memcpy(net.b2, params, sizeof(float) * V);
}

/* Train on the rows of X (n, T) and Y (n) that indices (n_steps, B) names; losses (n_steps). */
void train(const signed char *X, const signed char *Y, const int *indices, int n_steps, float rate,
           float *losses) {
    static signed char x[B * T], y[B];
    static Net own[256];
    grads = own;
    /* Waking the others costs more than a few blocks do. */
    int threads = BLOCKS >= MIN_BLOCKS ? omp_get_max_threads() : 1;
    for (int s = 0; s < n_steps; s++, indices += B) {
        for (int i = 0; i < B; i++) {
            memcpy(&x[i * T], &X[indices[i] * T], T);
            y[i] = Y[indices[i]];
        }
        losses[s] = step(x, y, rate, threads);
    }
}

/* The matrix products of some steps and nothing else, on zeros: what the tiles reach. */
void products(int n_steps) {
    static Net own[256];
#pragma omp parallel num_threads(BLOCKS >= MIN_BLOCKS ? omp_get_max_threads() : 1)
    for (int s = 0; s < n_steps; s++) {
#pragma omp for schedule(static)
        for (int block = 0; block < BLOCKS; block++) {
            int first = block * ROWS, rows = rows_of(block);
            float ALIGNED logits[ROWS][VP] = {0}, rest[ROWS][HP] = {0};
            Net *d = own + omp_get_thread_num();
            matmul_add(rows, HP, K, emb[first], KP, 1, net.W1[0], HP, pre[first], HP);
            matmul_add(rows, VP, H, h[first], HP, 1, net.W2[0], VP, logits[0], VP);
            matmul_add(H, VP, rows, h[first], 1, HP, logits[0], VP, d->W2[0], VP);
            matmul_add(rows, HP, V, logits[0], VP, 1, W2T[0], HP, rest[0], HP);
            matmul_add(K, HP, rows, emb[first], 1, KP, rest[0], HP, d->W1[0], HP);
            matmul_add(rows, KP, H, h[first], HP, 1, W1T[0], KP, emb[first], KP);
        }
    }
}
