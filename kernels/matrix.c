/* A matrix as it is stored, and some of its values as float32: floats of 16 or 32 bits, or codes with scales. What every
   body that takes matrices begins with; matrix.py has the same structure, and says what its fields are. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define CHUNK 512 /* columns at once: what is converted stays in the first cache */

#if defined(__GNUC__) && !defined(__clang__)
#define SHUFFLES 1 /* of vectors, by numbers that are not constants */
#endif

/* Vectors of one size whatever the machine's, so that every machine gets the same bits. */
typedef float v8f __attribute__((vector_size(32), aligned(4), may_alias));
typedef float v4f __attribute__((vector_size(16), aligned(4), may_alias));
typedef double v4d __attribute__((vector_size(32), aligned(8), may_alias));
typedef int32_t v8i __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint32_t v8u __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint16_t v8h __attribute__((vector_size(16), aligned(2), may_alias));
typedef unsigned char v8b __attribute__((vector_size(8), aligned(1), may_alias));

/* a * b + c, rounded once where the machine can: of sums alone, never of a value. */
#ifdef __FMA__
#define PRODUCT(a, b, c) ((v4d)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#else
#define PRODUCT(a, b, c) ((a) * (b) + (c))
#endif

/* What a compiler makes of these in general is several times as long as the one instruction that there is for each. */
#ifdef __AVX2__
#include <immintrin.h>
static inline v4d wide(const float *p) { return (v4d)_mm256_cvtps_pd(_mm_loadu_ps(p)); }
static inline v8u of_16_bits(const uint16_t *p) {
  return (v8u)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
}
static inline v8i of_bytes(const unsigned char *p) {
  return (v8i)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
static inline v8f larger(v8f a, v8f b) { return (v8f)_mm256_max_ps((__m256)a, (__m256)b); }
static inline v8f smaller(v8f a, v8f b) { return (v8f)_mm256_min_ps((__m256)a, (__m256)b); }
#else
static inline v4d wide(const float *p) { return __builtin_convertvector(*(const v4f *)p, v4d); }
static inline v8u of_16_bits(const uint16_t *p) { return __builtin_convertvector(*(const v8h *)p, v8u); }
static inline v8i of_bytes(const unsigned char *p) { return __builtin_convertvector(*(const v8b *)p, v8i); }
static inline v8f chosen(v8i mask, v8f a, v8f b) { return (v8f)(((v8i)a & mask) | ((v8i)b & ~mask)); }
static inline v8f larger(v8f a, v8f b) { return chosen(a > b, a, b); }
static inline v8f smaller(v8f a, v8f b) { return chosen(a < b, a, b); }
#endif

enum { FLOAT32, BFLOAT16, FLOAT16, CODES };

typedef struct {
  const unsigned char *bytes;
  const float *levels, *scales, *zeros, *minima;
  int64_t row_bytes, of_row, width;
  int32_t kind, bits, block, block_bytes, first, apart, divided;
  int32_t mantissa, limit, base; /* filled in here, by `known` */
} Matrix;

static int32_t bits_of(float f) {
  int32_t bits;
  memcpy(&bits, &f, 4);
  return bits;
}

static float float_of(int32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

/* A float of 8 bits, of which `mantissa` are mantissa: its exponent is brought to its place, and what has none is
   moved. base: the bits of the float that is 0 less the smallest normal one. */
static float of_small(int32_t pattern, int32_t mantissa, int32_t base) {
  int32_t size = pattern & 127;
  float f = float_of((size << (23 - mantissa)) + base);
  f = size >> mantissa ? f : 2 * f - float_of(base + (1 << 23));
  return float_of(bits_of(f) | (pattern & 128) << 24);
}

/* The same matrix, and whether its levels are those of such a float, up to `limit`: these are then calculated, in half
   the time that a look at a table takes. */
static Matrix known(const Matrix *given) {
  Matrix m = *given;
  m.mantissa = 0;
  if (m.kind == CODES && m.bits == 8)
    for (int32_t mantissa = 2; mantissa <= 3; mantissa++) {
      int32_t base = bits_of(m.levels[1 << mantissa]) - (1 << 23), limit = -1;
      while (limit < 127 && bits_of(m.levels[limit + 1]) == bits_of(of_small(limit + 1, mantissa, base)) &&
             bits_of(m.levels[limit + 129]) == bits_of(of_small(limit + 129, mantissa, base)))
        limit++;
      if (limit >= 96) m.mantissa = mantissa, m.limit = limit, m.base = base;
    }
  return m;
}

/* False where a pattern is beyond the limit. */
static int calculated(const Matrix *m, const unsigned char *p, int64_t n, float *to) {
  const v8i zero = {0}, base = zero + m->base, least = zero + (1 << m->mantissa), limit = zero + m->limit;
  const v8f moved = (v8f)(base + (1 << 23));
  v8i beyond = zero;
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    v8i pattern = of_bytes(p + i), size = pattern & 127, small = size < least;
    v8f f = (v8f)((size << (23 - m->mantissa)) + base), g = f + f - moved;
    beyond |= size > limit;
    *(v8i *)(to + i) = (((v8i)f & ~small) | ((v8i)g & small)) | (pattern & 128) << 24;
  }
  int32_t any = 0;
  for (int k = 0; k < 8; k++) any |= beyond[k];
  for (; i < n; i++) to[i] = m->levels[p[i]];
  return !any;
}

static void from_bfloat16(const unsigned char *from, int64_t n, float *to) {
  const uint16_t *p = (const uint16_t *)from;
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    *(v8u *)(to + i) = of_16_bits(p + i) << 16;
  for (; i < n; i++) {
    uint32_t bits = (uint32_t)p[i] << 16;
    memcpy(to + i, &bits, 4);
  }
}

/* Exponents are brought to their place by a product, which makes numbers of denormals too. */
static void from_float16(const unsigned char *from, int64_t n, float *to) {
  const uint16_t *p = (const uint16_t *)from;
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits = (uint32_t)(p[i] & 0x7fff) << 13, sign = (uint32_t)(p[i] & 0x8000) << 16;
    float f;
    memcpy(&f, &bits, 4);
    f *= 0x1p112f;
    memcpy(&bits, &f, 4);
    bits |= sign | ((p[i] & 0x7c00) == 0x7c00 ? 0x7f800000u : 0u);
    memcpy(to + i, &bits, 4);
  }
}

/* Codes of `bits` bits out of runs of `apart` bytes, of which first the lowest bits of all are taken, then the next. */
static void levels_of(const Matrix *m, const unsigned char *p, int64_t n, float *to) {
  const float *levels = m->levels;
  int64_t i = 0, apart = m->apart;
  int bits = m->bits;
  if (m->mantissa && calculated(m, p, n, to)) return;
#ifdef SHUFFLES
  if (bits == 4) {
    const v8f low = *(const v8f *)levels, high = *(const v8f *)(levels + 8);
    if (apart == 1) {
      const v8u shifts = {0, 4, 8, 12, 16, 20, 24, 28};
      for (; i + 8 <= n; i += 8) {
        uint32_t word;
        memcpy(&word, p + i / 2, 4);
        v8u every = {word, word, word, word, word, word, word, word};
        *(v8f *)(to + i) = __builtin_shuffle(low, high, (v8i)(every >> shifts & 15));
      }
    } else if (apart % 8 == 0) {
      for (; i + 2 * apart <= n; i += 2 * apart)
        for (int64_t k = 0; k < apart; k += 8) {
          v8i both = of_bytes(p + i / 2 + k);
          *(v8f *)(to + i + k) = __builtin_shuffle(low, high, both & 15);
          *(v8f *)(to + i + k + apart) = __builtin_shuffle(low, high, both >> 4);
        }
    }
  }
#endif
  if (bits == 8) {
    for (; i < n; i++) to[i] = levels[p[i]];
    return;
  }
  int64_t a_byte = 8 / bits, run = apart * a_byte, mask = (1 << bits) - 1;
  for (; i < n; i++) {
    int64_t inside = i % run;
    to[i] = levels[p[i / run * apart + inside % apart] >> inside / apart * bits & mask];
  }
}

static void scale_all(const Matrix *m, int64_t row, int64_t start, int64_t n, float *v) {
  int64_t cell = start / m->width, at = row * m->of_row + cell, i = 0;
  for (int64_t stop = (cell + 1) * m->width - start; i < n; at++, stop += m->width) {
    if (stop > n) stop = n;
    float scale = m->scales[at], zero = m->zeros ? m->zeros[at] : 0, minimum = m->minima ? m->minima[at] : 0;
    if (m->divided) {
      for (; i < stop; i++) v[i] = v[i] / scale;
      continue;
    }
    if (m->zeros)
      for (int64_t k = i; k < stop; k++) v[k] -= zero;
    if (m->minima)
      for (int64_t k = i; k < stop; k++) v[k] = v[k] * scale + minimum;
    else {
      int64_t k = i;
      for (; k + 8 <= stop; k += 8) *(v8f *)(v + k) *= scale;
      for (; k < stop; k++) v[k] *= scale;
    }
    i = stop;
  }
}

/* `n` values of a row from column `start` on, which is a multiple of the values of a block. to: with room for CHUNK. */
static void fetch(const Matrix *m, int64_t row, int64_t start, int64_t n, float *to) {
  const unsigned char *from = m->bytes + row * m->row_bytes;
  if (m->kind == BFLOAT16) {
    from_bfloat16(from + 2 * start, n, to);
  } else if (m->kind == FLOAT16) {
    from_float16(from + 2 * start, n, to);
  } else if (m->kind == FLOAT32) {
    memcpy(to, from + 4 * start, (size_t)(4 * n));
  } else {
    if (!m->block) {
      levels_of(m, from + start * m->bits / 8, n, to);
    } else {
      from += start / m->block * m->block_bytes + m->first;
      for (int64_t i = 0; i < n; i += m->block, from += m->block_bytes)
        levels_of(m, from, n - i < m->block ? n - i : m->block, to + i);
    }
    scale_all(m, row, start, n, to);
  }
}

/* All values, chunk by chunk: `chunk` columns are whole blocks. */
void values(const Matrix *given, int64_t rows, int64_t columns, int64_t chunk, float *to) {
  const Matrix m = known(given);
  float v[CHUNK];
  for (int64_t row = 0; row < rows; row++)
    for (int64_t start = 0; start < columns; start += chunk) {
      int64_t n = columns - start < chunk ? columns - start : chunk;
      fetch(&m, row, start, n, v);
      memcpy(to + row * columns + start, v, (size_t)n * sizeof *v);
    }
}
