// SPDX-License-Identifier: Apache-2.0
// Update: the order of its tiles. Gradients of ``on_chip`` channels are summed in the weight buffer
// over all images of the mini-batch; with the last image the old weights come in and the new ones
// go out. If a whole map fits the buffers, the loss is loaded once per tile of output channels.
#ifndef EF_UPDATE_HPP
#define EF_UPDATE_HPP

#include "ef_round.hpp"

namespace ef {

inline void clear_weights(WeiBuffer buffer, int slot, int taps) {
#pragma HLS INLINE off
taps:
  for (int i = 0; i < taps; i++) {
#pragma HLS PIPELINE II=1
    for (int m = 0; m < Lanes; m++) {
#pragma HLS UNROLL
      for (int n = 0; n < Lanes; n++) buffer[m][n][slot + i] = 0;
    }
  }
}

inline void update_bias(Word* out, const Word* data, int offset, const N::Grad grad[Lanes],
                        N::Rate rate) {
#pragma HLS INLINE off
words:
  for (int w = 0; w < WordsPerPixel; w++) {
#pragma HLS PIPELINE II=1
    Word word = data[offset + w];
    for (int k = 0; k < PerWord; k++) {
      const int m = w * PerWord + k;
      word.v[k] = N::step(word.v[k], grad[m], rate);
    }
    out[offset + w] = word;
  }
}

// Update: gradients summed over rows and images on chip, then one step of gradient descent.
inline void run_update(Buffers& b, const EfLayer& l, const Word* ifm, const Word* ofm,
                       const Word* weights, Word* out) {
#pragma HLS INLINE
  const int m_tiles = tiles_of(l.m), n_tiles = tiles_of(l.n);
  const int depth = (n_tiles + 1) / 2;
  const int taps = l.kernel * l.kernel;
  const int group = tiles_of(l.on_chip);
  const bool whole = l.tile_rows >= l.rows;  // then the loss of a tile is loaded once per image
  const int bias_base = weight_offset(n_tiles, m_tiles, 0, taps);
  const N::Rate rate = N::rate(l.rate);

  Round t;
  t.update = true;
  t.backward = t.load_wei = t.store = false;
  t.flags = 0;
  t.kernel = l.kernel;
  const Map source = {n_tiles, l.in_rows, l.in_cols};
  const Map loss = {m_tiles, l.rows, l.cols};
  t.source = source;
  t.loss = loss;
  t.cols = make_axis(false, 0, l.cols, l.kernel, l.stride, l.pad_left);
  t.ofm_cols = l.cols;
  t.ifm_cols = window_size(false, 0, l.cols, l.kernel, l.stride, l.pad_left);
groups:
  for (int first = 0; first < m_tiles; first += group) {
    const int last = first + group < m_tiles ? first + group : m_tiles;
  images:
    for (int image = 0; image < l.batch; image++) {
    outputs:
      for (int tile = first; tile < last; tile++) {
        N::Grad bias[Lanes];
#pragma HLS ARRAY_PARTITION variable=bias complete
        for (int m = 0; m < Lanes; m++) {
#pragma HLS UNROLL
          bias[m] = image == 0 ? N::Grad(0) : b.bias[m][tile - first];
        }
      inputs:
        for (int part = 0; part < n_tiles; part++) {
          const int slot = ((tile - first) * depth + part / 2) * taps;
          const int size = whole ? l.rows : l.tile_rows;
          const Window x = {image, part, -l.pad_top, -l.pad_left,
                            window_size(false, 0, size, l.kernel, l.stride, l.pad_top), t.ifm_cols};
          const Window d = {image, tile, 0, 0, size, l.cols};
          t.slot = slot;
          t.with_bias = part == 0;
          if (image == 0) {
            if (part % 2 == 0)
              clear_weights(b.wei0, slot, taps);
            else
              clear_weights(b.wei1, slot, taps);
          }
          if (whole) {
            if (part == 0) {
              load_ofm(b.ofm0, ofm, loss, d);
              load_ifm(b.ifm0, ifm, source, x);
            }
            t.rows = make_axis(false, 0, size, l.kernel, l.stride, l.pad_top);
            t.load = part + 1 < n_tiles;
            t.load_loss = false;
            t.next = x;
            t.next.tile = part + 1;
            if (part % 2 == 0)
              run_round(t, b.ifm0, b.wei0, b.ofm0, b.ifm1, b.wei1, b.ofm1, bias, ifm, ofm,
                        weights, out);
            else
              run_round(t, b.ifm1, b.wei1, b.ofm0, b.ifm0, b.wei0, b.ofm1, bias, ifm, ofm,
                        weights, out);
          } else {
            load_ofm(b.ofm0, ofm, loss, d);
            load_ifm(b.ifm0, ifm, source, x);
            int ping = 0;
          rows:
            for (int row = 0; row < l.rows; row += l.tile_rows) {
              const int rest = l.rows - row;
              const int now = rest < l.tile_rows ? rest : l.tile_rows;
              const int after = row + l.tile_rows;
              const int then = l.rows - after < l.tile_rows ? l.rows - after : l.tile_rows;
              t.rows = make_axis(false, row, now, l.kernel, l.stride, l.pad_top);
              t.load = t.load_loss = after < l.rows;
              t.next = x;
              t.next.row = window_begin(false, after, l.kernel, l.stride, l.pad_top);
              t.next.rows = window_size(false, after, then, l.kernel, l.stride, l.pad_top);
              t.next_loss = d;
              t.next_loss.row = after;
              t.next_loss.rows = then;
              if (part % 2 == 0 && ping == 0)
                run_round(t, b.ifm0, b.wei0, b.ofm0, b.ifm1, b.wei1, b.ofm1, bias, ifm, ofm,
                          weights, out);
              else if (part % 2 == 0)
                run_round(t, b.ifm1, b.wei0, b.ofm1, b.ifm0, b.wei1, b.ofm0, bias, ifm, ofm,
                          weights, out);
              else if (ping == 0)
                run_round(t, b.ifm0, b.wei1, b.ofm0, b.ifm1, b.wei0, b.ofm1, bias, ifm, ofm,
                          weights, out);
              else
                run_round(t, b.ifm1, b.wei1, b.ofm1, b.ifm0, b.wei0, b.ofm0, bias, ifm, ofm,
                          weights, out);
              ping = 1 - ping;
            }
          }
          if (image == l.batch - 1) {
            const int offset = weight_offset(n_tiles, tile, part, taps);
            if (part % 2 == 0)
              update_weights(out, weights, offset, b.wei0, slot, taps, rate);
            else
              update_weights(out, weights, offset, b.wei1, slot, taps, rate);
          }
        }
        for (int m = 0; m < Lanes; m++) {
#pragma HLS UNROLL
          b.bias[m][tile - first] = bias[m];
        }
        if (image == l.batch - 1 && (l.flags & Bias) != 0)
          update_bias(out, weights, bias_base + tile * WordsPerPixel, bias, rate);
      }
    }
  }
}

}  // namespace ef

#endif
