/* Vectors as wide as the processor's, and a matrix product whose tiles stay in its registers. */

/* AVX-512 and NEON have 32 registers, for tiles of 6 x 4. AVX2 has 16, for 6 x 2. */
#if defined __AVX512F__
enum { LANES = 16, WIDEST = 4 };
#elif defined __ARM_NEON
enum { LANES = 4, WIDEST = 4 };
#else
enum { LANES = 8, WIDEST = 2 };
#endif
#define UP(n) (((n) + LANES - 1) / LANES * LANES)

#define ALIGNED __attribute__((aligned(4 * LANES)))
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));

/* c[m][n] += Σ_k a[m][k] b[k][n], a[m][k] at a[m * am + k * ak]; a tile of MR x NV vectors of c is
   held in registers, beside NV vectors of b and an element of a. n counts vectors, a multiple of NV
   for the caller to see to. */
#define TILE(MR, NV)                                                                                \
    static inline __attribute__((always_inline)) void tile_##MR##_##NV(                             \
        int depth, const float *a, int am, int ak, const float *b, int bk, float *c, int cm) {     \
        vec sum[MR][NV];                                                                            \
        for (int i = 0; i < MR; i++)                                                                \
            for (int j = 0; j < NV; j++) sum[i][j] = *(vec *)(c + i * cm + j * LANES);              \
        for (int k = 0; k < depth; k++) {                                                           \
            vec row[NV];                                                                            \
            for (int j = 0; j < NV; j++) row[j] = *(const vec *)(b + k * bk + j * LANES);           \
            for (int i = 0; i < MR; i++)                                                            \
                for (int j = 0; j < NV; j++) sum[i][j] += a[i * am + k * ak] * row[j];              \
        }                                                                                           \
        for (int i = 0; i < MR; i++)                                                                \
            for (int j = 0; j < NV; j++) *(vec *)(c + i * cm + j * LANES) = sum[i][j];              \
    }
TILE(6, 4)
TILE(6, 3)
TILE(6, 2)
TILE(6, 1)
TILE(2, 4)
TILE(2, 3)
TILE(2, 2)
TILE(2, 1)
TILE(1, 4)
TILE(1, 3)
TILE(1, 2)
TILE(1, 1)

static inline __attribute__((always_inline)) void matmul_add(
    int m, int n, int depth, const float *a, int am, int ak, const float *b, int bk, float *c,
    int cm) {
    for (int j = 0; j < n;) {
        int left = (n - j) / LANES, wide = left < WIDEST ? left : WIDEST == 4 && left == 5 ? 3 : WIDEST;
        int i = 0;
#define ROWS_OF(MR)                                                                                 \
    for (; i + MR <= m; i += MR) {                                                                  \
        const float *ai = a + i * am, *bj = b + j;                                                  \
        float *cij = c + i * cm + j;                                                                \
        if (wide == 4) tile_##MR##_4(depth, ai, am, ak, bj, bk, cij, cm);                           \
        if (wide == 3) tile_##MR##_3(depth, ai, am, ak, bj, bk, cij, cm);                           \
        if (wide == 2) tile_##MR##_2(depth, ai, am, ak, bj, bk, cij, cm);                           \
        if (wide == 1) tile_##MR##_1(depth, ai, am, ak, bj, bk, cij, cm);                           \
    }
        ROWS_OF(6)
        ROWS_OF(2)
        ROWS_OF(1)
        j += wide * LANES;
    }
}
