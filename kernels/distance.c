/* Sums of two matrices and of their difference, and of the error of rounding one of them, over float32 or bfloat16: the
   compiled body of distance.py.

   Sums are kept in eight lanes of double whatever the width of the machine's vectors, and nothing is contracted, so that
   every machine gets the same bits. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 8
#define ROWS 4     /* share one update of the sums of columns */
#define CHUNK 512  /* columns at once: what is converted stays in the first cache */

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define EVERY_CPU __attribute__((target_clones("avx2", "default")))
#else
#define EVERY_CPU
#endif
#define INLINE static inline __attribute__((always_inline))

INLINE void widen(const unsigned char *from, int is_bf16, int64_t at, int64_t n, double *to) {
  if (is_bf16) {
    const uint16_t *p = (const uint16_t *)from + at;
    for (int64_t i = 0; i < n; i++) {
      uint32_t bits = (uint32_t)p[i] << 16;
      float f;
      memcpy(&f, &bits, 4);
      to[i] = f;
    }
  } else {
    const float *p = (const float *)from + at;
    for (int64_t i = 0; i < n; i++) to[i] = p[i];
  }
}


INLINE void narrow(const unsigned char *from, int is_bf16, int64_t at, int64_t n, float *to) {
  if (is_bf16) {
    const uint16_t *p = (const uint16_t *)from + at;
    for (int64_t i = 0; i < n; i++) {
      uint32_t bits = (uint32_t)p[i] << 16;
      memcpy(to + i, &bits, 4);
    }
  } else {
    memcpy(to, from + 4 * at, (size_t)(4 * n));
  }
}

INLINE double total(const double *lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

INLINE double product(const double *x, const double *y, int64_t n) {
  double lanes[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int k = 0; k < LANES; k++) lanes[k] += x[i + k] * y[i + k];
  for (int k = 0; i < n; i++, k++) lanes[k] += x[i] * y[i];
  return total(lanes);
}

/* d = y - x; its sum is added to shift, its largest magnitude returned. */
INLINE double difference(const double *x, const double *y, int64_t n, double *d, double *shift) {
  double lanes[LANES] = {0}, most[LANES] = {0};
  int64_t i = 0;
  for (int64_t j = 0; j < n; j++) d[j] = y[j] - x[j];
  for (; i + LANES <= n; i += LANES)
    for (int k = 0; k < LANES; k++) {
      double size = fabs(d[i + k]);
      lanes[k] += d[i + k];
      most[k] = size > most[k] ? size : most[k];
    }
  for (int k = 0; i < n; i++, k++) {
    lanes[k] += d[i];
    most[k] = fabs(d[i]) > most[k] ? fabs(d[i]) : most[k];
  }
  for (int k = 1; k < LANES; k++) most[0] = most[k] > most[0] ? most[k] : most[0];
  *shift += total(lanes);
  return most[0];
}

/* Of a[rows][columns] and b, d = b - a. width: columns of a cell; it divides CHUNK, or is 0 where there are no cells.
   of_rows[4][rows]: sums of a*a, a*b, b*b, d*d. of_columns[3][columns]: sums of a*a, a*b, b*b are added. of_cells[rows]
   [ceil(columns / width)]: sums of d*d. whole[2]: the sum of d, the largest |d|. Returns the position of the latter, -1
   where nothing differs. */
EVERY_CPU int64_t distance(const unsigned char *a, int a_is_bf16, const unsigned char *b, int b_is_bf16, int64_t rows,
                           int64_t columns, int64_t width, double *of_rows, double *of_columns, double *of_cells,
                           double *whole) {
  double x[ROWS][CHUNK], y[ROWS][CHUNK], d[CHUNK];
  int64_t at = -1, n_cells = width ? (columns + width - 1) / width : 0;
  double most = 0, shift = 0;
  for (int64_t first = 0; first < rows; first += ROWS) {
    int64_t n_rows = rows - first < ROWS ? rows - first : ROWS;
    for (int64_t start = 0; start < columns; start += CHUNK) {
      int64_t n = columns - start < CHUNK ? columns - start : CHUNK;
      for (int64_t r = 0; r < n_rows; r++) {
        int64_t row = first + r, place = row * columns + start;
        widen(a, a_is_bf16, place, n, x[r]);
        widen(b, b_is_bf16, place, n, y[r]);
        of_rows[row] += product(x[r], x[r], n);
        of_rows[rows + row] += product(x[r], y[r], n);
        of_rows[2 * rows + row] += product(y[r], y[r], n);
        double top = difference(x[r], y[r], n, d, &shift);
        if (top > most) {
          most = top;
          for (int64_t i = 0; i < n; i++)
            if (fabs(d[i]) == top) {
              at = place + i;
              break;
            }
        }
        if (width) {
          double noise = 0;
          for (int64_t i = 0; i < n; i += width) {
            double of_cell = product(d + i, d + i, n - i < width ? n - i : width);
            of_cells[row * n_cells + (start + i) / width] = of_cell;
            noise += of_cell;
          }
          of_rows[3 * rows + row] += noise;
        } else {
          of_rows[3 * rows + row] += product(d, d, n);
        }
      }
      for (int64_t r = n_rows; r < ROWS; r++) {
        memset(x[r], 0, sizeof x[r]);
        memset(y[r], 0, sizeof y[r]);
      }
      double *aa = of_columns + start, *ab = aa + columns, *bb = ab + columns;
      for (int64_t i = 0; i < n; i++) {
        aa[i] += (x[0][i] * x[0][i] + x[1][i] * x[1][i]) + (x[2][i] * x[2][i] + x[3][i] * x[3][i]);
        ab[i] += (x[0][i] * y[0][i] + x[1][i] * y[1][i]) + (x[2][i] * y[2][i] + x[3][i] * y[3][i]);
        bb[i] += (y[0][i] * y[0][i] + y[1][i] * y[1][i]) + (y[2][i] * y[2][i] + y[3][i] * y[3][i]);
      }
    }
  }
  whole[0] = shift;
  whole[1] = most;
  return at;
}

/* The least and the largest value of each cell of height x width of x[rows][columns], and 0: low and high[down][across].
 */
EVERY_CPU void extremes(const unsigned char *x, int is_bf16, int64_t rows, int64_t columns, int64_t height,
                        int64_t width, float *low, float *high) {
  int64_t across = (columns + width - 1) / width;
  float v[CHUNK];
  memset(low, 0, (size_t)(across * ((rows + height - 1) / height)) * sizeof *low);
  memset(high, 0, (size_t)(across * ((rows + height - 1) / height)) * sizeof *high);
  for (int64_t row = 0; row < rows; row++)
    for (int64_t cell = 0; cell < across; cell++) {
      int64_t stop = (cell + 1) * width < columns ? (cell + 1) * width : columns, at = row / height * across + cell;
      for (int64_t start = cell * width; start < stop; start += CHUNK) {
        int64_t n = stop - start < CHUNK ? stop - start : CHUNK, i = 0;
        float least[LANES] = {0}, most[LANES] = {0};
        narrow(x, is_bf16, row * columns + start, n, v);
        for (; i + LANES <= n; i += LANES)
          for (int k = 0; k < LANES; k++) {
            least[k] = v[i + k] < least[k] ? v[i + k] : least[k];
            most[k] = v[i + k] > most[k] ? v[i + k] : most[k];
          }
        for (int k = 0; i < n; i++, k++) {
          least[k] = v[i] < least[k] ? v[i] : least[k];
          most[k] = v[i] > most[k] ? v[i] : most[k];
        }
        for (int k = 0; k < LANES; k++) {
          low[at] = least[k] < low[at] ? least[k] : low[at];
          high[at] = most[k] > high[at] ? most[k] : high[at];
        }
      }
    }
}

/* The nearest number with so many bits of mantissa, ties to even: adding what has the last of them as its last bit, and
   taking it away, leaves them. */
INLINE float rounded(float v, int mantissa, float smallest) {
  float power = smallest;
  if (mantissa >= 0) {
    uint32_t bits;
    memcpy(&bits, &v, 4);
    bits &= 0x7f800000;
    memcpy(&power, &bits, 4);
    power = power > smallest ? power : smallest;
  }
  float anchor = power * (mantissa < 0 ? 12582912.0f : 1.5f * (float)(1 << (23 - mantissa)));
  return (v + anchor) - anchor;
}

INLINE double squared_errors(const float *v, int64_t n, float step, float low, float high, int mantissa,
                             float smallest) {
  double lanes[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int k = 0; k < LANES; k++) {
      float code = v[i + k] / step;
      code = code < low ? low : code;
      code = code > high ? high : code;
      double error = (double)(rounded(code, mantissa, smallest) * step) - (double)v[i + k];
      lanes[k] += error * error;
    }
  for (int k = 0; i < n; i++, k++) {
    float code = v[i] / step;
    code = code < low ? low : code;
    code = code > high ? high : code;
    double error = (double)(rounded(code, mantissa, smallest) * step) - (double)v[i];
    lanes[k] += error * error;
  }
  return total(lanes);
}

INLINE double rounding(const unsigned char *x, int is_bf16, int64_t rows, int64_t columns, int64_t height,
                       int64_t width, const float *step, const float *low, const float *high, int mantissa,
                       float smallest) {
  int64_t across = (columns + width - 1) / width;
  float v[CHUNK];
  double found = 0;
  for (int64_t row = 0; row < rows; row++)
    for (int64_t cell = 0; cell < across; cell++) {
      int64_t stop = (cell + 1) * width < columns ? (cell + 1) * width : columns, at = row / height * across + cell;
      for (int64_t start = cell * width; start < stop; start += CHUNK) {
        int64_t n = stop - start < CHUNK ? stop - start : CHUNK;
        narrow(x, is_bf16, row * columns + start, n, v);
        found += squared_errors(v, n, step[at], low[at], high[at], mantissa, smallest);
      }
    }
  return found;
}

/* The squared error of rounding x[rows][columns] to integers from low to high times step, which each cell of height x
   width has. */
EVERY_CPU double rounding_to_integers(const unsigned char *x, int is_bf16, int64_t rows, int64_t columns,
                                      int64_t height, int64_t width, const float *step, const float *low,
                                      const float *high) {
  return rounding(x, is_bf16, rows, columns, height, width, step, low, high, -1, 1.0f);
}

/* The same to floats of so many bits of mantissa, whose smallest normal number is `smallest`. */
EVERY_CPU double rounding_to_floats(const unsigned char *x, int is_bf16, int64_t rows, int64_t columns, int64_t height,
                                    int64_t width, const float *step, const float *low, const float *high,
                                    int mantissa, float smallest) {
  return rounding(x, is_bf16, rows, columns, height, width, step, low, high, mantissa, smallest);
}
