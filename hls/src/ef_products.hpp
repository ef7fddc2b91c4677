// SPDX-License-Identifier: Apache-2.0
// Forward and Backward: the order of their tiles.
//
// Weights of ``on_chip`` channels stay in the weight buffer while all images of the mini-batch
// pass; tiles of even and odd reduced channels lie in different copies. The choice between copies
// is written out here and in ef_update.hpp: a variable index into partitioned memories would keep
// the calls of a round from running side by side.
#ifndef EF_PRODUCTS_HPP
#define EF_PRODUCTS_HPP

#include "ef_round.hpp"

namespace ef {

inline void load_bias(Number bias[Lanes], const Word* data, int offset, bool present) {
#pragma HLS INLINE off
words:
  for (int w = 0; w < WordsPerPixel; w++) {
#pragma HLS PIPELINE II=1
    Word word = Word();
    if (present) word = data[offset + w];
    for (int k = 0; k < PerWord; k++) bias[w * PerWord + k] = present ? word.v[k] : N::zero();
  }
}

// Forward: output from input. Backward: loss of the input from the loss of the output.
inline void run_products(Buffers& b, const EfLayer& l, bool backward, const Word* ifm,
                         const Word* mask, const Word* weights, Word* out) {
#pragma HLS INLINE
  const int m_tiles = tiles_of(l.m), n_tiles = tiles_of(l.n);
  const int made_tiles = backward ? n_tiles : m_tiles;
  const int reduced_tiles = backward ? m_tiles : n_tiles;
  const int depth = (reduced_tiles + 1) / 2;  // tiles of one copy of the weight buffer
  const int taps = l.kernel * l.kernel;
  const int group = tiles_of(l.on_chip);
  const int made_rows = backward ? l.in_rows : l.rows;
  const int made_cols = backward ? l.in_cols : l.cols;
  const int bias_base = weight_offset(n_tiles, m_tiles, 0, taps);

  Round t;
  t.kernel = l.kernel;
  t.backward = backward;
  t.update = t.with_bias = t.load_loss = false;
  t.flags = l.flags & (backward ? Mask : Relu);
  const Map source = {reduced_tiles, backward ? l.rows : l.in_rows,
                      backward ? l.cols : l.in_cols};
  const Map made = {made_tiles, made_rows, made_cols};
  t.source = source;
  t.made = made;
  t.cols = make_axis(backward, 0, made_cols, l.kernel, l.stride, l.pad_left);
  t.ofm_cols = made_cols;
  const int col = window_begin(backward, 0, l.kernel, l.stride, l.pad_left);
  t.ifm_cols = window_size(backward, 0, made_cols, l.kernel, l.stride, l.pad_left);

  N::Grad unused[Lanes];  // gradients of biases
  bool pending = false;  // a computed output tile waits in the other copy
  int ping = 0;
  Window done = {0, 0, 0, 0, 0, 0};
groups:
  for (int first = 0; first < made_tiles; first += group) {
    const int last = first + group < made_tiles ? first + group : made_tiles;
  images:
    for (int image = 0; image < l.batch; image++) {
    outputs:
      for (int tile = first; tile < last; tile++) {
        Number bias[Lanes];
#pragma HLS ARRAY_PARTITION variable=bias complete
        load_bias(bias, weights, bias_base + tile * WordsPerPixel,
                  !backward && (l.flags & Bias) != 0);
      rows:
        for (int row = 0; row < made_rows; row += l.tile_rows) {
          const int size = row + l.tile_rows < made_rows ? l.tile_rows : made_rows - row;
          const bool fresh = image == 0 && row == 0;  // weights of this tile are not here yet
          t.rows = make_axis(backward, row, size, l.kernel, l.stride, l.pad_top);
          const Window from = {
              image, 0, window_begin(backward, row, l.kernel, l.stride, l.pad_top), col,
              window_size(backward, row, size, l.kernel, l.stride, l.pad_top), t.ifm_cols};
          t.next = from;
          const Window at = {image, tile, row, 0, size, made_cols};
          const int base = (tile - first) * depth * taps;

          load_ifm(b.ifm0, ifm, source, from);
          if (fresh)
            load_weights(b.wei0, base, weights,
                         backward ? weight_offset(n_tiles, 0, tile, taps)
                                  : weight_offset(n_tiles, tile, 0, taps), taps, backward);
          if (ping == 0)
            fill_ofm(b.ofm0, bias, size * made_cols);
          else
            fill_ofm(b.ofm1, bias, size * made_cols);
        reduced:
          for (int part = 0; part < reduced_tiles; part++) {
            t.slot = base + part / 2 * taps;
            t.load = part + 1 < reduced_tiles;
            t.load_wei = t.load && fresh;
            t.next.tile = part + 1;
            t.next_slot = base + (part + 1) / 2 * taps;
            t.next_offset = backward ? weight_offset(n_tiles, part + 1, tile, taps)
                                     : weight_offset(n_tiles, tile, part + 1, taps);
            t.store = pending && !t.load;
            t.before = done;
            if (part % 2 == 0 && ping == 0)
              run_round(t, b.ifm0, b.wei0, b.ofm0, b.ifm1, b.wei1, b.ofm1, unused, ifm, mask,
                        weights, out);
            else if (part % 2 == 0)
              run_round(t, b.ifm0, b.wei0, b.ofm1, b.ifm1, b.wei1, b.ofm0, unused, ifm, mask,
                        weights, out);
            else if (ping == 0)
              run_round(t, b.ifm1, b.wei1, b.ofm0, b.ifm0, b.wei0, b.ofm1, unused, ifm, mask,
                        weights, out);
            else
              run_round(t, b.ifm1, b.wei1, b.ofm1, b.ifm0, b.wei0, b.ofm0, unused, ifm, mask,
                        weights, out);
          }
          done = at;
          pending = true;
          ping = 1 - ping;
        }
      }
    }
  }
  if (ping == 1)
    store_ofm(out, mask, b.ofm0, made, done, t.flags);
  else
    store_ofm(out, mask, b.ofm1, made, done, t.flags);
}

}  // namespace ef

#endif
