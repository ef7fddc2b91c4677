// SPDX-License-Identifier: Apache-2.0
// 2x2 max pooling with stride 2, a pass of its own through memory. An odd last row or column is
// left out. The index of the first maximum, 2 bits a number, lies in memory for the way back.
#ifndef EF_POOL_HPP
#define EF_POOL_HPP

#include "ef_config.hpp"

namespace ef {

typedef std::uint16_t Index;  // two bits for each number of a word
static_assert(PerWord <= 8, "an index word holds eight numbers");

// True if a is larger than b.
inline bool larger(Number a, Number b);
#ifdef EF_FIXED_FRAC
inline bool larger(Number a, Number b) { return a.raw > b.raw; }
#else
inline bool larger(Number a, Number b) { return a > b; }
#endif

inline void pool_forward(const Word* in, Index* index, Word* out, int planes, int rows, int cols) {
#pragma HLS INLINE off
  int at = 0;
planes:
  for (int p = 0; p < planes; p++) {
  rows:
    for (int r = 0; r < rows / 2; r++) {
    cols:
      for (int c = 0; c < cols / 2; c++) {
      words:
        for (int w = 0; w < WordsPerPixel; w++) {
          Word best;
          Index place = 0;
        window:
          for (int i = 0; i < 4; i++) {
#pragma HLS PIPELINE II=1
            const int row = 2 * r + i / 2, col = 2 * c + i % 2;
            const Word word = in[((p * rows + row) * cols + col) * WordsPerPixel + w];
            for (int k = 0; k < PerWord; k++) {
#pragma HLS UNROLL
              if (i == 0 || larger(word.v[k], best.v[k])) {
                best.v[k] = word.v[k];
                place = Index((place & ~(3 << (2 * k))) | (i << (2 * k)));
              }
            }
          }
          out[at] = best;
          index[at] = place;
          at++;
        }
      }
    }
  }
}

inline void pool_backward(const Word* in, const Index* index, Word* out, int planes, int rows,
                          int cols) {
#pragma HLS INLINE off
  int at = 0;
planes:
  for (int p = 0; p < planes; p++) {
  rows:
    for (int r = 0; r < rows; r++) {
    cols:
      for (int c = 0; c < cols; c++) {
        const bool inside = r < rows / 2 * 2 && c < cols / 2 * 2;
        const int from = ((p * (rows / 2) + r / 2) * (cols / 2) + c / 2) * WordsPerPixel;
      words:
        for (int w = 0; w < WordsPerPixel; w++) {
#pragma HLS PIPELINE II=1
          Word word;
          const Word loss = in[inside ? from + w : 0];
          const Index place = index[inside ? from + w : 0];
          for (int k = 0; k < PerWord; k++) {
#pragma HLS UNROLL
            const bool here = inside && ((place >> (2 * k)) & 3) == r % 2 * 2 + c % 2;
            word.v[k] = here ? loss.v[k] : N::zero();
          }
          out[at] = word;
          at++;
        }
      }
    }
  }
}

}  // namespace ef

#endif
