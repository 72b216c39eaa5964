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

/* The nearest number with so many bits of mantissa, ties to even: adding what has the last of them as its last bit, and
   taking it away, leaves them. */
static inline v8f rounded(v8f v, int mantissa, v8f smallest) {
  v8f anchor = smallest * 12582912.0f;
  if (mantissa >= 0) anchor = larger((v8f)((v8u)v & 0x7f800000), smallest) * (1.5f * (float)(1 << (23 - mantissa)));
  return (v + anchor) - anchor;
}

/* Of values of one cell, which zero is among the numbers of. They are multiplied by one over the step: what is so near
   to the middle between two codes that it is then rounded to the other one is as far from either. */
static inline v4d squared_errors(const float *v, int64_t n, float step, float low, float high, int mantissa,
                                 float smallest, v4d found) {
  float inverse = 1 / step, part[8] = {0};
  int divided = !isfinite(inverse);
  v8f zero = {0}, lows = zero + low, highs = zero + high, least = zero + smallest;
  for (int64_t i = 0; i < n; i += 8) {
    const float *from = v + i;
    if (i + 8 > n) from = memcpy(part, from, (size_t)(n - i) * sizeof *v);
    v8f x = *(const v8f *)from, code = divided ? x / step : x * inverse;
    v8f e = rounded(smaller(larger(code, lows), highs), mantissa, least) * step - x;
    v4d a = wide((float *)&e), b = wide((float *)&e + 4);
    found = PRODUCT(a, a, found);
    found = PRODUCT(b, b, found);
  }
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

/* The 16 bits of the value with the largest magnitude. */
static inline uint32_t pattern_of(const float *v, int64_t n) {
  float low = 0, high = 0;
  ends_of(v, n, &low, &high);
  return (uint32_t)bits_of(high > -low ? high : low) >> 16;
}

static inline v4d by_cells(const float *v, int64_t row, int64_t start, int64_t n, const Rounding *r, int mantissa,
                           v4d found) {
  int64_t cell = start / r->width, at = row / r->height * r->across + cell, i = 0;
  for (int64_t stop = (cell + 1) * r->width - start; i < n; at++, stop += r->width) {
    if (stop > n) stop = n;
    int64_t end = r->each ? at : 0;
    float step = r->looked_up ? r->step[pattern_of(v + i, stop - i)] : r->step[at];
    found = squared_errors(v + i, stop - i, step, r->low[end], r->high[end], mantissa, r->smallest, found);
    i = stop;
  }
  return found;
}

static v4d rounding(const float *v, int64_t row, int64_t start, int64_t n, const Rounding *r, v4d found) {
  return r->mantissa < 0 ? by_cells(v, row, start, n, r, -1, found) : by_cells(v, row, start, n, r, r->mantissa, found);
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

/* Where it is, and what it is exactly. Rounding keeps the order: it is among those whose rounded one is the largest. */
static int64_t place(const float *x, const float *y, int64_t n, int32_t top, double *exactly) {
  int64_t at = -1;
  *exactly = 0;
  for (int64_t i = 0; i < n; i++) {
    float d = y[i] - x[i];
    int32_t bits;
    memcpy(&bits, &d, 4);
    double size = fabs((double)y[i] - (double)x[i]);
    if ((bits & 0x7fffffff) == top && size > *exactly) *exactly = size, at = i;
  }
  return at;
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

/* Of two rows of up to CHUNK values, zeros behind the last one. of_columns: sums of a*a, a*b, b*b are added. */
static void two_rows(float x[2][CHUNK], float y[2][CHUNK], int64_t n, int64_t width, Lanes sums[2], double *of_cells[2],
                     double of_columns[3][CHUNK], v4d *shift) {
  v4d zero = {0}, d_sum = *shift;
  Lanes s = {zero, zero, zero, zero}, t = s;
  int64_t cell = 0;
  for (int64_t i = 0; i < n; cell++) {
    int64_t stop = i + width < n ? i + width : n;
    v4d dd = zero, ee = zero;
    for (; i < stop; i += 4) {
      v4d a = wide(x[0] + i), b = wide(y[0] + i), p = wide(x[1] + i), q = wide(y[1] + i);
      v4d d = b - a, e = q - p;
      v4d *aa = (v4d *)(of_columns[0] + i), *ab = (v4d *)(of_columns[1] + i), *bb = (v4d *)(of_columns[2] + i);
      s.aa = PRODUCT(a, a, s.aa), s.ab = PRODUCT(a, b, s.ab), s.bb = PRODUCT(b, b, s.bb), dd = PRODUCT(d, d, dd);
      t.aa = PRODUCT(p, p, t.aa), t.ab = PRODUCT(p, q, t.ab), t.bb = PRODUCT(q, q, t.bb), ee = PRODUCT(e, e, ee);
      d_sum += d + e;
      *aa = PRODUCT(a, a, PRODUCT(p, p, *aa));
      *ab = PRODUCT(a, b, PRODUCT(p, q, *ab));
      *bb = PRODUCT(b, b, PRODUCT(q, q, *bb));
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
  float x[2][CHUNK], y[2][CHUNK];
  double of_columns[3][CHUNK];
  int64_t at = -1, rows = f->n_rows, columns = f->n_columns, width = f->width && f->width < chunk ? f->width : chunk;
  int32_t highest = 0;
  double most = 0;
  v4d zero = {0}, shift = zero, error = zero;
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
          int64_t here = (row + k) * columns + start + place(x[k], y[k], n, top, &size);
          if (size > most || (size == most && here < at)) at = here, most = size, highest = top;
        }
      }
    }
    for (int k = 0; k < 3; k++) memcpy(f->columns + k * columns + start, of_columns[k], (size_t)n * sizeof(double));
  }
  f->whole[0] = total(shift);
  f->whole[1] = most;
  f->whole[2] = total(error);
  return at;
}

/* The squared error of rounding alone. */
double rounding_alone(const Matrix *given, int64_t rows, int64_t columns, int64_t chunk, const Rounding *r) {
  const Matrix m = known(given);
  float v[CHUNK];
  v4d error = {0};
  for (int64_t row = 0; row < rows; row++)
    for (int64_t start = 0; start < columns; start += chunk) {
      int64_t n = columns - start < chunk ? columns - start : chunk;
      fetch(&m, row, start, n, v);
      error = rounding(v, row, start, n, r, error);
    }
  return total(error);
}

/* The squared error of each cell, of as many rows and columns as r says: of_cells[down][across] are added to. */
void rounding_by_cells(const Matrix *given, int64_t rows, int64_t columns, int64_t chunk, const Rounding *r,
                       double *of_cells) {
  const Matrix m = known(given);
  float v[CHUNK];
  for (int64_t row = 0; row < rows; row++)
    for (int64_t start = 0; start < columns; start += chunk) {
      int64_t n = columns - start < chunk ? columns - start : chunk, i = 0;
      fetch(&m, row, start, n, v);
      for (int64_t cell = start / r->width; i < n; cell++) {
        int64_t left = (cell + 1) * r->width - start - i;
        v4d zero = {0};
        if (left > n - i) left = n - i;
        of_cells[row / r->height * r->across + cell] += total(rounding(v + i, row, start + i, left, r, zero));
        i += left;
      }
    }
}

/* The least and the largest value of each cell of height x width, and 0: low and high[down][across]. */
void extremes(const Matrix *given, int64_t rows, int64_t columns, int64_t chunk, int64_t height, int64_t width,
                        float *low, float *high) {
  const Matrix m = known(given);
  int64_t across = (columns + width - 1) / width;
  float v[CHUNK];
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
