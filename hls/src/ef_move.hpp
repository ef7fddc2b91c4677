// SPDX-License-Identifier: Apache-2.0
// Between memory and buffers: every tile is one burst, because its channels, rows and columns lie
// behind each other in memory.
#ifndef EF_MOVE_HPP
#define EF_MOVE_HPP

#include "ef_config.hpp"

namespace ef {

// Shape of a map in memory.
struct Map {
  int tiles, rows, cols;  // channel tiles, rows, columns
};

// Where a tile lies: may reach over the edges, where zeros are.
struct Window {
  int image, tile, row, col, rows, cols;
};

inline int map_offset(const Map& map, int image, int tile, int row, int col) {
#pragma HLS INLINE
  return (((image * map.tiles + tile) * map.rows + row) * map.cols + col) * WordsPerPixel;
}

// Fill the input buffer with a window of all lanes of a channel tile.
inline void load_ifm(IfmBuffer buffer, const Word* data, const Map& map, const Window& at) {
#pragma HLS INLINE off
  int place = 0;
rows:
  for (int r = 0; r < at.rows; r++) {
  cols:
    for (int c = 0; c < at.cols; c++) {
      const int row = at.row + r, col = at.col + c;
      const bool inside = row >= 0 && row < map.rows && col >= 0 && col < map.cols;
      const int base = inside ? map_offset(map, at.image, at.tile, row, col) : 0;
    words:
      for (int w = 0; w < WordsPerPixel; w++) {
#pragma HLS PIPELINE II=1
        const Word word = data[base + w];
        for (int i = 0; i < PerWord; i++) {
#pragma HLS UNROLL
          buffer[w * PerWord + i][place] = inside ? word.v[i] : N::zero();
        }
      }
      place++;
    }
  }
}

// Fill the output buffer with whole rows of a map: the loss of a weight update.
inline void load_ofm(OfmBuffer buffer, const Word* data, const Map& map, const Window& at) {
#pragma HLS INLINE off
  const int base = map_offset(map, at.image, at.tile, at.row, 0);
  int place = 0, w = 0;
pixels:
  for (int i = 0; i < at.rows * at.cols * WordsPerPixel; i++) {
#pragma HLS PIPELINE II=1
    const Word word = data[base + i];
    for (int k = 0; k < PerWord; k++) {
#pragma HLS UNROLL
      buffer[w * PerWord + k][place] = N::hold(word.v[k]);
    }
    w++;
    if (w == WordsPerPixel) {
      w = 0;
      place++;
    }
  }
}

// Start the sums of an output tile with the biases, or with zeros.
inline void fill_ofm(OfmBuffer buffer, const Number bias[Lanes], int positions) {
#pragma HLS INLINE off
fill:
  for (int i = 0; i < positions; i++) {
#pragma HLS PIPELINE II=1
    for (int m = 0; m < Lanes; m++) {
#pragma HLS UNROLL
      buffer[m][i] = N::begin(bias[m]);
    }
  }
}

// Write an output tile. ReLU looks at the values, a mask at another map of the same shape.
inline void store_ofm(Word* out, const Word* mask, const OfmBuffer buffer, const Map& map,
                      const Window& at, int flags) {
#pragma HLS INLINE off
  const int base = map_offset(map, at.image, at.tile, at.row, 0);
  int place = 0, w = 0;
pixels:
  for (int i = 0; i < at.rows * at.cols * WordsPerPixel; i++) {
#pragma HLS PIPELINE II=1
    Word word, seen = Word();
    if (flags & Mask) seen = mask[base + i];
    for (int k = 0; k < PerWord; k++) {
#pragma HLS UNROLL
      const Number value = N::round(buffer[w * PerWord + k][place]);
      const bool keep = ((flags & Relu) == 0 || N::positive(value)) &&
                        ((flags & Mask) == 0 || N::positive(seen.v[k]));
      word.v[k] = keep ? value : N::zero();
    }
    out[base + i] = word;
    w++;
    if (w == WordsPerPixel) {
      w = 0;
      place++;
    }
  }
}

// Place of a tile of weights in memory.
inline int weight_offset(int n_tiles, int m_tile, int n_tile, int taps) {
#pragma HLS INLINE
  return (m_tile * n_tiles + n_tile) * taps * Lanes * WordsPerPixel;
}

// Read one tile of weights. The backward pass exchanges output and input channels and turns the
// kernel by 180 degrees while the tile comes in, so that the array need not know.
inline void load_weights(WeiBuffer buffer, int slot, const Word* data, int offset, int taps,
                         bool turned) {
#pragma HLS INLINE off
  int tap = 0, m = 0, w = 0;
weights:
  for (int i = 0; i < taps * Lanes * WordsPerPixel; i++) {
#pragma HLS PIPELINE II=1
    const Word word = data[offset + i];
    const int place = slot + (turned ? taps - 1 - tap : tap);
    for (int k = 0; k < PerWord; k++) {
#pragma HLS UNROLL
      const int n = w * PerWord + k;
      if (turned)
        buffer[n][m][place] = N::hold(word.v[k]);
      else
        buffer[m][n][place] = N::hold(word.v[k]);
    }
    w++;
    if (w == WordsPerPixel) {
      w = 0;
      m++;
      if (m == Lanes) {
        m = 0;
        tap++;
      }
    }
  }
}

// Take one step of gradient descent with one tile of weights: old ones come in, new ones go out.
inline void update_weights(Word* out, const Word* data, int offset, const WeiBuffer buffer,
                           int slot, int taps, N::Rate rate) {
#pragma HLS INLINE off
  int tap = 0, m = 0, w = 0;
weights:
  for (int i = 0; i < taps * Lanes * WordsPerPixel; i++) {
#pragma HLS PIPELINE II=1
    Word word = data[offset + i];
    for (int k = 0; k < PerWord; k++) {
#pragma HLS UNROLL
      word.v[k] = N::step(word.v[k], buffer[m][w * PerWord + k][slot + tap], rate);
    }
    out[offset + i] = word;
    w++;
    if (w == WordsPerPixel) {
      w = 0;
      m++;
      if (m == Lanes) {
        m = 0;
        tap++;
      }
    }
  }
}

}  // namespace ef

#endif
