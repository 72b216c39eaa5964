/* Counts of 16-bit patterns under a mask: the compiled body of magnitude_counts and signed_counts.

   One table would be bound by the store that the next load of the same counter waits for: equal neighbours (zeros
   after SiLU or ReLU) run at a fifth of the speed. Eight tables make eight neighbours independent. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 8
#define SMALL 65536 /* below this, clearing and adding up eight tables costs more than it saves */

static inline __attribute__((always_inline)) int count(const unsigned char *x, int64_t n, const uint64_t mask,
                                                       int64_t *out) {
  int64_t i = 0;
  uint16_t v;
  if (n >= SMALL) {
    const size_t size = mask + 1;
    uint32_t *t = calloc(LANES * size, sizeof *t);
    if (!t) return -1;
    for (; i + 8 <= n; i += 8) {
      uint64_t a, b; /* memcpy: x may stand at an odd address */
      memcpy(&a, x + 2 * i, 8);
      memcpy(&b, x + 2 * i + 8, 8);
      t[0 * size + (a & mask)]++;
      t[1 * size + ((a >> 16) & mask)]++;
      t[2 * size + ((a >> 32) & mask)]++;
      t[3 * size + ((a >> 48) & mask)]++;
      t[4 * size + (b & mask)]++;
      t[5 * size + ((b >> 16) & mask)]++;
      t[6 * size + ((b >> 32) & mask)]++;
      t[7 * size + ((b >> 48) & mask)]++;
    }
    for (size_t k = 0; k < size; k++) {
      uint64_t sum = 0;
      for (size_t lane = 0; lane < LANES; lane++) sum += t[lane * size + k];
      out[k] += (int64_t)sum;
    }
    free(t);
  }
  for (; i < n; i++) {
    memcpy(&v, x + 2 * i, 2);
    out[v & mask]++;
  }
  return 0;
}

/* Adds to out[32768] (magnitude) or out[65536] (pattern) the counts of n values at x; n < 2^32, so that no table of
   32 bits overflows. 0, or -1 where there is no memory for the tables. */
int count_magnitudes(const unsigned char *x, int64_t n, int64_t *out) { return count(x, n, 0x7fff, out); }
int count_patterns(const unsigned char *x, int64_t n, int64_t *out) { return count(x, n, 0xffff, out); }
