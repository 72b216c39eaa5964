/* Sums of two matrices and of their difference, and of the error of rounding one of them: the compiled body of
   distance.py. Behind matrix.c.

   Sums are kept in four lanes of double, whatever the width of the machine's vectors; only the rounding of products in
   them may differ between machines. */

typedef struct {
  const float *step, *low, *high; /* step: of each cell; or of each pattern of bfloat16, where `looked_up` */
  int64_t height, width, across, each; /* each: whether low and high are of each cell, or of all */
  int32_t mantissa;
  float smallest;
  int32_t looked_up; /* the largest magnitude in a cell, with its sign, is the pattern; cells do not reach over chunks */
} Rounding;

static inline double total(v4d lanes) { return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]); }

/* Sums of squares in several lanes: what is added to one of them waits for what was added before. */
typedef struct {
  v4d even, odd;
} Squares;

static inline double total_of(Squares s) { return total(s.even + s.odd); }

/* Fewer than eight values, and zeros. */
static inline v8f part_of(const float *v, int64_t n) {
  float part[8] = {0};
  for (int64_t k = 0; k < 8 && k < n; k++) part[k] = v[k];
  return *(v8f *)part;
}

static inline v4d square(v8f e) {
  v4d a = wide((float *)&e), b = wide((float *)&e + 4);
  return PRODUCT(a, a, b * b);
}

/* How the values of one cell are rounded. Zero is among the numbers that they are rounded to. inverse: one over the step,
   by which they are multiplied: what is so near to the middle between two codes that it is then rounded to the other one
   is as far from either. Where that is not finite they are divided. anchor: what has the last bit of a code as its last
   one, of integers, and of the smallest floats: adding it and taking it away leaves the nearest code, ties to even. */
typedef struct {
  v8f step, inverse, low, high, smallest, anchor;
} Steps;

/* floats, divided: constants where it is called. */
static inline __attribute__((always_inline)) v8f error_of(v8f x, Steps s, int floats, int divided) {
  v8f code, anchor = s.anchor;
  if (divided) code = x / s.step;
  else code = x * s.inverse;
  code = smaller(larger(code, s.low), s.high);
  if (floats) anchor = larger((v8f)((v8u)code & 0x7f800000), s.smallest) * s.anchor;
  return ((code + anchor) - anchor) * s.step - x;
}

static inline __attribute__((always_inline)) Squares squared_errors(const float *v, int64_t n, Steps s, int floats,
                                                                    int divided, Squares found) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    found.even += square(error_of(*(const v8f *)(v + i), s, floats, divided));
    found.odd += square(error_of(*(const v8f *)(v + i + 8), s, floats, divided));
  }
  for (; i < n; i += 8) found.even += square(error_of(part_of(v + i, n - i), s, floats, divided));
  return found;
}

static inline float highest_of(v8f v) {
#ifdef __AVX2__
  __m128 x = _mm_max_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
#else
  float found = v[0];
  for (int k = 1; k < 8; k++) found = v[k] > found ? v[k] : found;
  return found;
#endif
}

/* The largest of eight numbers without a sign. */
static inline uint32_t highest_bits(v8u v) {
#ifdef __AVX2__
  __m128i x = _mm_max_epu32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
  x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0x4e));
  return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(x, _mm_shuffle_epi32(x, 0xb1)));
#else
  uint32_t found = v[0];
  for (int k = 1; k < 8; k++) found = v[k] > found ? v[k] : found;
  return found;
#endif
}

/* The least and the largest value, or what low and high are. */
static inline void ends_of(const float *v, int64_t n, float *low, float *high) {
  v8f zero = {0}, least = zero + *low, most = zero + *high;
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    least = smaller(*(v8f *)(v + i), least);
    most = larger(*(v8f *)(v + i), most);
  }
  float bottom = -highest_of(-least), top = highest_of(most);
  for (; i < n; i++) {
    bottom = v[i] < bottom ? v[i] : bottom;
    top = v[i] > top ? v[i] : top;
  }
  *low = bottom, *high = top;
}

/* The 16 bits of the value with the largest magnitude; of two, that of the negative one. Turned round by one bit, so
   that the sign is the last, they are in that order. */
static inline __attribute__((always_inline)) uint32_t pattern_of(const float *v, int64_t n) {
  v8u most = {0};
  for (int64_t i = 0; i < n; i += 8) {
    v8u bits = (v8u)(i + 8 <= n ? *(const v8f *)(v + i) : part_of(v + i, n - i)), turned = bits << 1 | bits >> 31;
#ifdef __AVX2__
    most = (v8u)_mm256_max_epu32((__m256i)most, (__m256i)turned);
#else
    for (int k = 0; k < 8; k++) most[k] = turned[k] > most[k] ? turned[k] : most[k];
#endif
  }
  uint32_t found = highest_bits(most);
  return (found >> 1 | found << 31) >> 16;
}

/* The steps of all cells in a part of a row, and one over each. whole, a constant where it is called: the width of all
   cells, 0 where they are of several. */
static inline __attribute__((always_inline)) void steps_of(const float *v, int64_t first, int64_t start, int64_t n,
                                                           const Rounding *r, int64_t whole, float *step,
                                                           float *inverse) {
  const float *steps = r->looked_up ? r->step : r->step + first;
  int64_t width = r->width, cell = 0, i = 0;
  if (whole)
    for (; i < n; cell++, i += whole) step[cell] = steps[r->looked_up ? pattern_of(v + i, whole) : cell];
  for (int64_t stop = width - start % width; i < n; cell++, i = stop, stop += width) {
    if (stop > n) stop = n;
    step[cell] = steps[r->looked_up ? pattern_of(v + i, stop - i) : cell];
  }
  for (int64_t k = 0; k < cell; k++) inverse[k] = 1 / step[k];
}

/* floats: a constant where it is called. */
static inline __attribute__((always_inline)) Squares by_cells(const float *v, int64_t row, int64_t start, int64_t n,
                                                              const Rounding *r, int floats, int64_t whole,
                                                              Squares found) {
  float step[CHUNK], inverse[CHUNK];
  const v8f zero = {0};
  const float of_anchor = 1.5f * (float)(1 << (23 - (floats ? r->mantissa : 0)));
  const int64_t width = whole ? whole : r->width, each = r->each, first = row / r->height * r->across + start / width;
  int64_t cell = 0, i = 0;
  Steps s = {zero, zero, zero + r->low[0], zero + r->high[0], zero + r->smallest, zero + of_anchor};
  steps_of(v, first, start, n, r, whole, step, inverse);
  for (int64_t stop = whole ? whole : width - start % width; i < n; cell++, i = stop, stop += width) {
    if (!whole && stop > n) stop = n;
    s.step = zero + step[cell], s.inverse = zero + inverse[cell];
    if (each) s.low = zero + r->low[first + cell], s.high = zero + r->high[first + cell];
    int64_t size = whole ? whole : stop - i;
    if (isfinite(inverse[cell])) found = squared_errors(v + i, size, s, floats, 0, found);
    else found = squared_errors(v + i, size, s, floats, 1, found);
  }
  return found;
}

static __attribute__((noinline)) Squares rounding(const float *v, int64_t row, int64_t start, int64_t n,
                                                  const Rounding *r, Squares found) {
  if (r->mantissa < 0) return by_cells(v, row, start, n, r, 0, 0, found);
  if (r->width == 16 && start % 16 == 0 && n % 16 == 0) return by_cells(v, row, start, n, r, 1, 16, found); /* NVFP4 */
  return by_cells(v, row, start, n, r, 1, 0, found);
}

/* The bits of the largest |y - x|, rounded to a float: those of numbers without a sign are in their order. */
static int32_t largest(const float *x, const float *y, int64_t n) {
  int32_t found = 0;
  for (int64_t i = 0; i < n; i++) {
    float d = y[i] - x[i];
    int32_t bits;
    memcpy(&bits, &d, 4);
    bits &= 0x7fffffff;
    found = bits > found ? bits : found;
  }
  return found;
}

typedef int64_t v4l __attribute__((vector_size(32), aligned(8), may_alias));

/* Where the largest |y - x| is first, and what it is exactly. There are zeros behind the last value, up to four. Where
   codes are few, a third of all differences may be the largest one: no value is looked at by itself before it is found. */
static int64_t place(const float *x, const float *y, int64_t n, double *exactly) {
  v4d most = {0};
  for (int64_t i = 0; i < n; i += 4) {
    v4d d = wide(y + i) - wide(x + i);
    v4d size = (v4d)((v4l)d & INT64_MAX);
    v4l more = size > most;
    most = (v4d)(((v4l)size & more) | ((v4l)most & ~more));
  }
  *exactly = fmax(fmax(most[0], most[1]), fmax(most[2], most[3]));
  for (int64_t i = 0; i < n; i++)
    if (fabs((double)y[i] - (double)x[i]) == *exactly) return i;
  return -1; /* where a value is not a number */
}

typedef struct {
  double *rows, *columns, *cells, *whole;
  int64_t n_rows, n_columns, width, n_cells;
} Found;

typedef struct {
  v4d aa, ab, bb, dd;
} Lanes;

static void put_row(const Found *f, int64_t row, const Lanes *s) {
  f->rows[row] += total(s->aa);
  f->rows[f->n_rows + row] += total(s->ab);
  f->rows[2 * f->n_rows + row] += total(s->bb);
  f->rows[3 * f->n_rows + row] += total(s->dd);
}

/* Sums of a*a, a*b and b*b of four columns. They lie together: pages apart, each would wait for the other. */
typedef struct {
  v4d aa, ab, bb;
} Columns;

/* Of two rows of up to CHUNK values, zeros behind the last one. */
static void two_rows(float x[2][CHUNK + SLACK], float y[2][CHUNK + SLACK], int64_t n, int64_t width, Lanes sums[2], double *of_cells[2],
                     Columns *of_columns, v4d *shift) {
  v4d zero = {0}, d_sum = *shift;
  Lanes s = {zero, zero, zero, zero}, t = s;
  int64_t cell = 0;
  for (int64_t i = 0; i < n; cell++) {
    int64_t stop = i + width < n ? i + width : n;
    v4d dd = zero, ee = zero;
    for (; i < stop; i += 4) {
      v4d a = wide(x[0] + i), b = wide(y[0] + i), p = wide(x[1] + i), q = wide(y[1] + i);
      v4d d = b - a, e = q - p;
      Columns *c = of_columns + i / 4;
      s.aa = PRODUCT(a, a, s.aa), s.ab = PRODUCT(a, b, s.ab), s.bb = PRODUCT(b, b, s.bb), dd = PRODUCT(d, d, dd);
      t.aa = PRODUCT(p, p, t.aa), t.ab = PRODUCT(p, q, t.ab), t.bb = PRODUCT(q, q, t.bb), ee = PRODUCT(e, e, ee);
      d_sum += d + e;
      c->aa = PRODUCT(a, a, PRODUCT(p, p, c->aa));
      c->ab = PRODUCT(a, b, PRODUCT(p, q, c->ab));
      c->bb = PRODUCT(b, b, PRODUCT(q, q, c->bb));
    }
    s.dd += dd, t.dd += ee;
    if (of_cells[0]) of_cells[0][cell] += total(dd);
    if (of_cells[1]) of_cells[1][cell] += total(ee);
  }
  sums[0] = s, sums[1] = t;
  *shift = d_sum;
}

/* Of a[rows][columns] and b, d = b - a, `chunk` columns at a time. width: columns of a cell, of which a chunk has a
   whole number, or a cell a whole number of chunks; 0 where there are no cells. of_rows[4][rows]: sums of a*a, a*b, b*b,
   d*d. of_columns[3][columns]: sums of a*a, a*b, b*b. of_cells[rows][ceil(columns / width)]: sums of d*d. All of them
   zero before. whole[3]: the sum of d, the largest |d|, the squared error of rounding a by r, where that is not NULL.
   Returns the position of the largest, -1 where nothing differs. */
int64_t distance(const Matrix *given_a, const Matrix *given_b, int64_t chunk, const Found *f, const Rounding *r) {
  const Matrix a = known(given_a), b = known(given_b);
  float x[2][CHUNK + SLACK], y[2][CHUNK + SLACK];
  Columns of_columns[CHUNK / 4];
  int64_t at = -1, rows = f->n_rows, columns = f->n_columns, width = f->width && f->width < chunk ? f->width : chunk;
  int32_t highest = 0;
  double most = 0;
  v4d zero = {0}, shift = zero;
  Squares error = {zero, zero};
  for (int64_t start = 0; start < columns; start += chunk) {
    int64_t n = columns - start < chunk ? columns - start : chunk, padded = (n + 3) / 4 * 4;
    memset(of_columns, 0, sizeof of_columns);
    for (int64_t row = 0; row < rows; row += 2) {
      double *cells[2] = {NULL, NULL};
      Lanes sums[2];
      for (int64_t k = 0; k < 2; k++) {
        if (row + k < rows) {
          fetch(&a, row + k, start, n, x[k]);
          fetch(&b, row + k, start, n, y[k]);
          for (int64_t i = n; i < padded; i++) x[k][i] = y[k][i] = 0;
          if (f->width) cells[k] = f->cells + (row + k) * f->n_cells + start / f->width;
        } else {
          memset(x[k], 0, sizeof x[k]);
          memset(y[k], 0, sizeof y[k]);
        }
      }
      two_rows(x, y, padded, width, sums, cells, of_columns, &shift);
      for (int64_t k = 0; k < 2 && row + k < rows; k++) {
        put_row(f, row + k, &sums[k]);
        if (r) error = rounding(x[k], row + k, start, n, r, error);
        int32_t top = largest(x[k], y[k], n);
        if (top && top >= highest) {
          double size;
          int64_t here = (row + k) * columns + start + place(x[k], y[k], n, &size);
          if (size > most || (size == most && here < at)) at = here, most = size, highest = top;
        }
      }
    }
    for (int64_t i = 0; i < n; i++) {
      double *column = f->columns + start + i;
      column[0] = of_columns[i / 4].aa[i % 4];
      column[columns] = of_columns[i / 4].ab[i % 4];
      column[2 * columns] = of_columns[i / 4].bb[i % 4];
    }
  }
  f->whole[0] = total(shift);
  f->whole[1] = most;
  f->whole[2] = total_of(error);
  return at;
}

/* The squared error of rounding alone. */
double rounding_alone(const Matrix *given, int64_t rows, int64_t columns, int64_t chunk, const Rounding *r) {
  const Matrix m = known(given);
  float v[CHUNK + SLACK];
  Squares error = {{0}, {0}};
  for (int64_t row = 0; row < rows; row++)
    for (int64_t start = 0; start < columns; start += chunk) {
      int64_t n = columns - start < chunk ? columns - start : chunk;
      fetch(&m, row, start, n, v);
      error = rounding(v, row, start, n, r, error);
    }
  return total_of(error);
}

/* The squared error of each cell, of as many rows and columns as r says: of_cells[down][across] are added to. */
void rounding_by_cells(const Matrix *given, int64_t rows, int64_t columns, int64_t chunk, const Rounding *r,
                       double *of_cells) {
  const Matrix m = known(given);
  float v[CHUNK + SLACK];
  for (int64_t row = 0; row < rows; row++)
    for (int64_t start = 0; start < columns; start += chunk) {
      int64_t n = columns - start < chunk ? columns - start : chunk, i = 0;
      fetch(&m, row, start, n, v);
      for (int64_t cell = start / r->width; i < n; cell++) {
        int64_t left = (cell + 1) * r->width - start - i;
        Squares none = {{0}, {0}};
        if (left > n - i) left = n - i;
        of_cells[row / r->height * r->across + cell] += total_of(rounding(v + i, row, start + i, left, r, none));
        i += left;
      }
    }
}

/* The least and the largest value of each cell of height x width, and 0: low and high[down][across]. */
void extremes(const Matrix *given, int64_t rows, int64_t columns, int64_t chunk, int64_t height, int64_t width,
                        float *low, float *high) {
  const Matrix m = known(given);
  int64_t across = (columns + width - 1) / width;
  float v[CHUNK + SLACK];
  memset(low, 0, (size_t)(across * ((rows + height - 1) / height)) * sizeof *low);
  memset(high, 0, (size_t)(across * ((rows + height - 1) / height)) * sizeof *high);
  for (int64_t row = 0; row < rows; row++)
    for (int64_t start = 0; start < columns; start += chunk) {
      int64_t n = columns - start < chunk ? columns - start : chunk, i = 0;
      fetch(&m, row, start, n, v);
      int64_t cell = start / width, at = row / height * across + cell;
      for (int64_t stop = (cell + 1) * width - start; i < n; at++, stop += width) {
        if (stop > n) stop = n;
        ends_of(v + i, stop - i, &low[at], &high[at]);
        i = stop;
      }
    }
}

/* The largest magnitude of all, by its bits; not finite where some value is not. */
float largest_magnitude(const Matrix *given, int64_t rows, int64_t columns, int64_t chunk) {
  const Matrix m = known(given);
  float v[CHUNK + SLACK];
  int32_t most = 0;
  for (int64_t row = 0; row < rows; row++) {
    if (m.kind == BFLOAT16) { /* as they are, sixteen at a time */
      const uint16_t *p = (const uint16_t *)(m.bytes + row * m.row_bytes);
      uint16_t found = 0;
      for (int64_t i = 0; i < columns; i++) {
        uint16_t size = p[i] & 0x7fff;
        found = size > found ? size : found;
      }
      most = found << 16 > most ? found << 16 : most;
      continue;
    }
    for (int64_t start = 0; start < columns; start += chunk) {
      int64_t n = columns - start < chunk ? columns - start : chunk;
      fetch(&m, row, start, n, v);
      for (int64_t i = 0; i < n; i++) {
        int32_t size = bits_of(v[i]) & 0x7fffffff;
        most = size > most ? size : most;
      }
    }
  }
  return float_of(most);
}
