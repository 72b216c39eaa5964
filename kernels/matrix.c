/* A matrix as it is stored, and some of its values as float32: floats of 16 or 32 bits, or codes with scales. What every
   body that takes matrices begins with; matrix.py has the same structure, packing.py says what its fields are.

   Codes become numbers in two steps, 512 of a row at a time: each code to a byte of its own (`codes_of`), then what it
   stands for and the scale of its cell (`numbers_of`). */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define CHUNK 512 /* columns at once: what is converted stays in the first cache */
#define SLACK 64  /* codes that may be unpacked behind them */

/* Vectors of one size whatever the machine's, so that every machine gets the same bits. */
typedef float v8f __attribute__((vector_size(32), aligned(4), may_alias));
typedef float v4f __attribute__((vector_size(16), aligned(4), may_alias));
typedef double v4d __attribute__((vector_size(32), aligned(8), may_alias));
typedef int32_t v8i __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint32_t v8u __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint16_t v8h __attribute__((vector_size(16), aligned(2), may_alias));
typedef unsigned char v8b __attribute__((vector_size(8), aligned(1), may_alias));
typedef uint64_t eight __attribute__((aligned(1), may_alias)); /* bytes at once */
typedef uint32_t four __attribute__((aligned(1), may_alias));

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
static inline v8f of_integers(v8i v) { return (v8f)_mm256_cvtepi32_ps((__m256i)v); }
static inline v8f larger(v8f a, v8f b) { return (v8f)_mm256_max_ps((__m256)a, (__m256)b); }
static inline v8f smaller(v8f a, v8f b) { return (v8f)_mm256_min_ps((__m256)a, (__m256)b); }
/* table[at], of 16 numbers in two halves. */
static inline v8f looked_up(v8f low, v8f high, v8i at) {
  __m256 below = _mm256_permutevar8x32_ps((__m256)low, (__m256i)at);
  __m256 above = _mm256_permutevar8x32_ps((__m256)high, (__m256i)at);
  return (v8f)_mm256_blendv_ps(below, above, (__m256)(at << 28));
}
/* table[at], by the lowest three bits. */
static inline v8f one_of_eight(v8f table, v8i at) {
  return (v8f)_mm256_permutevar8x32_ps((__m256)table, (__m256i)at);
}
static inline int any(v8i mask) { return _mm256_movemask_ps((__m256)mask); }
#else
static inline v4d wide(const float *p) { return __builtin_convertvector(*(const v4f *)p, v4d); }
static inline v8u of_16_bits(const uint16_t *p) { return __builtin_convertvector(*(const v8h *)p, v8u); }
static inline v8i of_bytes(const unsigned char *p) { return __builtin_convertvector(*(const v8b *)p, v8i); }
static inline v8f of_integers(v8i v) { return __builtin_convertvector(v, v8f); }
static inline v8f chosen(v8i mask, v8f a, v8f b) { return (v8f)(((v8i)a & mask) | ((v8i)b & ~mask)); }
static inline v8f larger(v8f a, v8f b) { return chosen(a > b, a, b); }
static inline v8f smaller(v8f a, v8f b) { return chosen(a < b, a, b); }
static inline v8f looked_up(v8f low, v8f high, v8i at) {
  v8f found;
  for (int k = 0; k < 8; k++) found[k] = at[k] < 8 ? low[at[k]] : high[at[k] - 8];
  return found;
}
static inline v8f one_of_eight(v8f table, v8i at) {
  v8f found;
  for (int k = 0; k < 8; k++) found[k] = table[at[k] & 7];
  return found;
}
static inline int any(v8i mask) {
  int found = 0;
  for (int k = 0; k < 8; k++) found |= mask[k];
  return found;
}
#endif

enum { FLOAT32, BFLOAT16, FLOAT16, CODES };
enum { COUNTED, FEW, WITH_SIGN, SMALL_FLOAT, MANY }; /* how levels are had, see `known` */
enum { LESS_ZERO = 1, PLUS_MINIMUM = 2, DIVIDED = 4 };

typedef struct {
  int32_t bits, apart, first;
} Plane;

typedef struct {
  const unsigned char *bytes;
  const float *levels, *scales, *zeros, *minima, *factors, *of_scales;
  const unsigned char *scale_codes;
  const int32_t *cell_of, *shifts;
  int64_t row_bytes, of_row, width, skipped;
  int32_t kind, block, block_bytes, sharing, word, divided, n_planes;
  Plane planes[3];
  /* filled in here, by `known` */
  int32_t made, mantissa, limit, base, flip;
  float few[16], zero;
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

/* --- what codes stand for --- */

/* A float of 8 bits, of which `mantissa` are mantissa: its exponent is brought to its place, and what has none is
   moved. base: the bits of the float that is 0 less the smallest normal one. */
static float of_small(int32_t pattern, int32_t mantissa, int32_t base) {
  int32_t size = pattern & 127;
  float f = float_of((size << (23 - mantissa)) + base);
  f = size >> mantissa ? f : 2 * f - float_of(base + (1 << 23));
  return float_of(bits_of(f) | (pattern & 128) << 24);
}

/* Whether levels are those of such a float, up to `limit`. */
static int is_small_float(Matrix *m) {
  for (int32_t mantissa = 2; mantissa <= 3; mantissa++) {
    int32_t base = bits_of(m->levels[1 << mantissa]) - (1 << 23), limit = -1;
    while (limit < 127 && bits_of(m->levels[limit + 1]) == bits_of(of_small(limit + 1, mantissa, base)) &&
           bits_of(m->levels[limit + 129]) == bits_of(of_small(limit + 129, mantissa, base)))
      limit++;
    if (limit >= 96) {
      m->mantissa = mantissa, m->limit = limit, m->base = base;
      return 1;
    }
  }
  return 0;
}

/* Whether levels are integers one after another, from pattern 0 on, or, as of two's complement, from the middle on. */
static int is_counted(Matrix *m, int32_t n) {
  for (int32_t flip = 0; flip <= n / 2; flip += n / 2) {
    float least = m->levels[flip];
    int32_t i = 0;
    if (!(fabsf(least) < 1 << 20) || least != (float)(int32_t)least) continue;
    while (i < n && bits_of(m->levels[i]) == bits_of((float)((i ^ flip) + (int32_t)least))) i++;
    if (i == n) {
      m->flip = flip, m->base = (int32_t)least;
      return 1;
    }
  }
  return 0;
}

/* Whether the second half of 16 levels is the first with the other sign; its zero may have either. */
static int is_with_sign(Matrix *m) {
  m->zero = bits_of(m->few[8]) ? -0.0f : 0.0f; /* what leaves the sign of -0 as it is, or takes it away */
  int32_t i = 0;
  while (i < 8 && bits_of(m->few[i]) >= 0 && bits_of(m->few[i + 8]) == bits_of(-m->few[i] + m->zero)) i++;
  return i == 8;
}

/* The same matrix, and how its levels are had fastest: calculated where they can be, in half the time that a look at a
   table takes. */
static Matrix known(const Matrix *given) {
  Matrix m = *given;
  if (m.kind != CODES) return m;
  int32_t bits = 0;
  for (int k = 0; k < m.n_planes; k++) bits += m.planes[k].bits;
  memset(m.few, 0, sizeof m.few);
  if (bits <= 4) memcpy(m.few, m.levels, (sizeof *m.levels) << bits);
  m.made = MANY;
  if (is_counted(&m, 1 << bits)) m.made = COUNTED;
  else if (bits == 8 && is_small_float(&m)) m.made = SMALL_FLOAT;
  else if (bits <= 4) m.made = bits == 4 && is_with_sign(&m) ? WITH_SIGN : FEW;
  return m;
}

/* What levels are made of, in vectors: a matrix itself is read again after every number that is written. */
typedef struct {
  const float *table;
  v8f few, more, zero, moved;
  v8i flip, base, least, limit;
  int32_t shift;
} Levels;

static inline Levels levels_of(const Matrix *m) {
  const v8i none = {0};
  return (Levels){m->levels, *(const v8f *)m->few, *(const v8f *)(m->few + 8), (v8f)(none + bits_of(m->zero)),
                  (v8f)(none + (m->base + (1 << 23))), none + m->flip, none + m->base, none + (1 << m->mantissa),
                  none + m->limit, 23 - m->mantissa};
}

/* What eight codes stand for. made: a constant where it is called, so that a loop of its own is made of each. */
static inline __attribute__((always_inline)) v8f eight_of(Levels l, const unsigned char *p, int made) {
  v8f found;
  if (made == COUNTED) return of_integers((of_bytes(p) ^ l.flip) + l.base);
  if (made == FEW) return looked_up(l.few, l.more, of_bytes(p));
  if (made == WITH_SIGN) {
    v8i pattern = of_bytes(p);
    return (v8f)((v8i)one_of_eight(l.few, pattern) | (pattern << 28 & INT32_MIN)) + l.zero;
  }
  if (made == SMALL_FLOAT) {
    v8i pattern = of_bytes(p), size = pattern & 127, small = size < l.least;
    v8f f = (v8f)((size << l.shift) + l.base), g = f + f - l.moved;
    if (!any(size > l.limit)) return (v8f)((((v8i)f & ~small) | ((v8i)g & small)) | (pattern & 128) << 24);
  }
  for (int k = 0; k < 8; k++) found[k] = l.table[p[k]];
  return found;
}

/* --- codes out of the bits of a row --- */

/* `times` at every `apart`th bit. */
static uint64_t repeated(uint64_t times, int apart) {
  uint64_t found = 0;
  for (int at = 0; at < 64; at += apart) found |= times << at;
  return found;
}

/* Few bytes, behind which there may be no more. */
static inline uint64_t few_bytes(const unsigned char *p, int n) {
  uint64_t found = 0;
  for (int k = 0; k < n; k++) found |= (uint64_t)p[k] << 8 * k;
  return found;
}

/* One stream of codes of `bits` bits, the first in the lowest bits: the halves of eight codes are brought apart, then
   the halves of these, then these. */
static void from_stream(const unsigned char *p, int bits, int64_t n, unsigned char *to) {
  const uint64_t ones = (1u << bits) - 1, of_1 = repeated(ones, 16), of_2 = repeated(ones | ones << bits, 32);
  const uint64_t of_4 = (1ull << 4 * bits) - 1;
  for (int64_t i = 0; i < n; i += 8, p += bits) {
    uint64_t w = n - i >= 64 ? *(const eight *)p : few_bytes(p, n - i < 8 ? ((int)(n - i) * bits + 7) / 8 : bits);
    w = (w & of_4) | (w >> 4 * bits & of_4) << 32;
    w = (w & of_2) | (w >> 2 * bits & of_2) << 16;
    w = (w & of_1) | (w >> bits & of_1) << 8;
    *(eight *)(to + i) = w;
  }
}

/* The same of four bits, in a form that a compiler makes vectors of. */
static void from_nibbles(const unsigned char *p, int64_t n, unsigned char *to) {
  int64_t whole = n / 8;
  const four *words = (const four *)p;
  eight *codes = (eight *)to;
  for (int64_t i = 0; i < whole; i++) {
    uint64_t w = words[i];
    w = (w | w << 16) & 0x0000ffff0000ffff;
    w = (w | w << 8) & 0x00ff00ff00ff00ff;
    codes[i] = (w | w << 4) & 0x0f0f0f0f0f0f0f0f;
  }
  if (n > 8 * whole) from_stream(p + 4 * whole, 4, n - 8 * whole, to + 8 * whole);
}

/* Runs of `apart` bytes, a multiple of 8: first the lowest bits of all of them, then the next. */
static void from_runs(const unsigned char *p, int bits, int64_t apart, int64_t n, unsigned char *to) {
  const uint64_t mask = repeated((1u << bits) - 1, 8);
  for (int64_t i = 0; i < n; p += apart)
    for (int shift = 0; shift < 8 && i < n; shift += bits, i += apart)
      for (int64_t k = 0; k < apart; k += 8) *(eight *)(to + i + k) = *(const eight *)(p + k) >> shift & mask;
}

static void from_plane(const unsigned char *p, const Plane *plane, int64_t n, unsigned char *to) {
  if (plane->bits == 8) memcpy(to, p, (size_t)n);
  else if (plane->apart > 1) from_runs(p, plane->bits, plane->apart, n, to);
  else if (plane->bits == 4) from_nibbles(p, n, to);
  else from_stream(p, plane->bits, n, to);
}

/* All planes of a block, or of what there is without blocks, the lowest bits first. */
static void from_planes(const Matrix *m, const unsigned char *p, int64_t start, int64_t n, unsigned char *to) {
  unsigned char more[CHUNK + SLACK];
  int shift = 0;
  for (int k = 0; k < m->n_planes; k++) {
    const Plane *plane = &m->planes[k];
    const unsigned char *from = p + plane->first + start * plane->bits / 8;
    from_plane(from, plane, n, shift ? more : to);
    for (int64_t i = 0; shift && i < n; i += 8) *(eight *)(to + i) |= *(const eight *)(more + i) << shift;
    shift += plane->bits;
  }
}

/* Words in which several rows have a code each, one of them from bit `shift` on. */
static void from_shared(const unsigned char *p, int word, int bits, int shift, int64_t n, unsigned char *to) {
  const uint32_t mask = (1u << bits) - 1;
  if (word == 4)
    for (int64_t i = 0; i < n; i++) to[i] = (unsigned char)(((const four *)p)[i] >> shift & mask);
  else
    for (int64_t i = 0; i < n; i++) to[i] = (unsigned char)(p[i] >> shift & mask);
}

/* A byte for each code, and seven more behind them that are codes too: `to`, or where they are that already. */
static const unsigned char *codes_of(const Matrix *m, int64_t row, int64_t start, int64_t n, unsigned char *to) {
  memset(to + n, 0, 8);
  row += m->skipped;
  if (m->sharing) {
    const unsigned char *p = m->bytes + row / m->sharing * m->row_bytes + start * m->word;
    from_shared(p, m->word, m->planes[0].bits, m->shifts[row % m->sharing], n, to);
    return to;
  }
  const unsigned char *p = m->bytes + row * m->row_bytes;
  if (!m->block) {
    if (m->planes[0].bits == 8 && m->width % 8 == 0 && n % 8 == 0) return p + start;
    from_planes(m, p, start, n, to);
    return to;
  }
  p += start / m->block * m->block_bytes;
  for (int64_t i = 0; i < n; i += m->block, p += m->block_bytes)
    from_planes(m, p, 0, n - i < m->block ? n - i : m->block, to + i);
  return to;
}

/* --- scales --- */

/* Numbers by which those of a cell are multiplied or divided: as they are, or looked up by bytes. */
static inline float scale_at(const float *scales, const unsigned char *codes, const float *of_codes, int64_t at) {
  return codes ? of_codes[codes[at]] : scales[at];
}

static inline v8f scaled(v8f v, float scale, float zero, float minimum, int how) {
  if (how & LESS_ZERO) v -= zero;
  if (how & DIVIDED) v = v / scale;
  else v = v * scale;
  if (how & PLUS_MINIMUM) v += minimum;
  return v;
}

/* Numbers of `n` codes, behind which there is room for seven more. made, how: constants where it is called. */
static inline __attribute__((always_inline)) void in_cells(const Matrix *m, const unsigned char *p, int64_t row,
                                                           int64_t start, int64_t n, float *to, int made, int how) {
  const Levels levels = levels_of(m);
  const float *scales = m->scales, *of_codes = m->of_scales, *zeros = m->zeros, *minima = m->minima;
  const unsigned char *codes = m->scale_codes;
  const int64_t width = m->width, cell = start / width;
  int64_t at = row * m->of_row + cell, i = 0;
  for (int64_t stop = (cell + 1) * width - start; i < n; at++, stop += width) {
    if (stop > n) stop = n;
    float scale = scale_at(scales, codes, of_codes, at);
    float zero = how & LESS_ZERO ? zeros[at] : 0, minimum = how & PLUS_MINIMUM ? minima[at] : 0;
    /* what is written behind the last one of a cell is written again with the next cell */
    for (; i < stop; i += 8) *(v8f *)(to + i) = scaled(eight_of(levels, p + i, made), scale, zero, minimum, how);
    i = stop;
  }
}

/* Columns whose cells lie in any order. */
static void in_order(const Matrix *m, const unsigned char *codes, int64_t row, int64_t start, int64_t n, float *to) {
  for (int64_t i = 0; i < n; i++) {
    int64_t at = row * m->of_row + m->cell_of[start + i];
    float v = m->levels[codes[i]], scale = scale_at(m->scales, m->scale_codes, m->of_scales, at);
    if (m->zeros) v -= m->zeros[at];
    v = m->divided ? v / scale : v * scale;
    to[i] = m->minima ? v + m->minima[at] : v;
  }
}

#define WITH(MADE, HOW) \
  if (m->made == MADE && how == (HOW)) { in_cells(m, codes, row, start, n, to, MADE, HOW); return; }

static void numbers_of(const Matrix *m, const unsigned char *codes, int64_t row, int64_t start, int64_t n, float *to) {
  int how = (m->zeros ? LESS_ZERO : 0) | (m->minima ? PLUS_MINIMUM : 0) | (m->divided ? DIVIDED : 0);
  if (m->cell_of) {
    in_order(m, codes, row, start, n, to);
    return;
  }
  WITH(COUNTED, 0)
  WITH(COUNTED, LESS_ZERO)
  WITH(COUNTED, PLUS_MINIMUM)
  WITH(WITH_SIGN, 0)
  WITH(FEW, 0)
  WITH(SMALL_FLOAT, 0)
  WITH(SMALL_FLOAT, DIVIDED)
  in_cells(m, codes, row, start, n, to, m->made, how);
}

/* --- values --- */

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

/* `n` values of a row from column `start` on, which is a multiple of the values of a block. to: with room
   for CHUNK and SLACK. */
static __attribute__((noinline)) void fetch(const Matrix *m, int64_t row, int64_t start, int64_t n, float *to) {
  if (m->kind == CODES) {
    unsigned char codes[CHUNK + SLACK];
    numbers_of(m, codes_of(m, row, start, n, codes), row, start, n, to);
    if (m->factors)
      for (int64_t i = 0; i < n; i++) to[i] *= m->factors[start + i];
    return;
  }
  const unsigned char *from = m->bytes + row * m->row_bytes;
  if (m->kind == BFLOAT16) from_bfloat16(from + 2 * start, n, to);
  else if (m->kind == FLOAT16) from_float16(from + 2 * start, n, to);
  else memcpy(to, from + 4 * start, (size_t)(4 * n));
}

/* All values, chunk by chunk: `chunk` columns are whole blocks. What is written behind a chunk is written again; where
   little is left, it would be behind the end. */
void values(const Matrix *given, int64_t rows, int64_t columns, int64_t chunk, float *to) {
  const Matrix m = known(given);
  float v[CHUNK + SLACK];
  for (int64_t row = 0; row < rows; row++)
    for (int64_t start = 0; start < columns; start += chunk) {
      int64_t n = columns - start < chunk ? columns - start : chunk;
      float *here = to + row * columns + start;
      int room = (rows - 1 - row) * columns >= SLACK;
      fetch(&m, row, start, n, room ? here : v);
      if (!room) memcpy(here, v, (size_t)n * sizeof *v);
    }
}
