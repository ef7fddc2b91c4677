// SPDX-License-Identifier: Apache-2.0
// The buffers, and one round: what the array and the four ports do side by side.
//
// While the array is at one copy of a buffer, the next tile comes into the other, and the output
// tile before goes out.
#ifndef EF_ROUND_HPP
#define EF_ROUND_HPP

#include "ef_array.hpp"
#include "ef_move.hpp"

namespace ef {

// All buffers. The top function owns them: they are memories of the kernel.
struct Buffers {
  IfmBuffer ifm0, ifm1;
  OfmBuffer ofm0, ofm1;
  WeiBuffer wei0, wei1;
  N::Grad bias[Lanes][BiasTiles];  // gradients of the biases
};

inline int tiles_of(int channels) {
#pragma HLS INLINE
  return (channels + Lanes - 1) / Lanes;
}

// What one round needs beside its buffers. A round is one tile of input channels in the array, and
// what moves meanwhile.
struct Round {
  int kernel, slot;
  Axis rows, cols;
  int ifm_cols, ofm_cols;
  bool update, backward, with_bias;
  int flags;
  Map source, made, loss;
  bool load, load_wei, load_loss, store;
  Window next, next_loss, before;  // next input, next loss, output tile to be stored
  int next_slot, next_offset;      // next weights
};

// What a round consists of: four processes that share no buffer and no port. Whether one has
// anything to do stands inside it, for a dataflow region may hold nothing but calls.
inline void next_input(bool wanted, IfmBuffer buffer, const Word* data, Map map, Window at) {
#pragma HLS INLINE off
  if (wanted) load_ifm(buffer, data, map, at);
}
inline void next_weights(bool wanted, WeiBuffer buffer, int slot, const Word* data, int offset,
                         int taps, bool turned) {
#pragma HLS INLINE off
  if (wanted) load_weights(buffer, slot, data, offset, taps, turned);
}
// The other copy of the output buffer: the next loss comes in (Update), or the output tile before
// goes out (Forward, Backward).
inline void other_output(bool load, bool store, OfmBuffer buffer, const Word* second, Word* out,
                         Map loss, Window next_loss, Map made, Window before, int flags) {
#pragma HLS INLINE off
  if (load)
    load_ofm(buffer, second, loss, next_loss);
  else if (store)
    store_ofm(out, second, buffer, made, before, flags);
}

inline void run_round(const Round& t, IfmBuffer ifm, WeiBuffer wei, OfmBuffer ofm,
                      IfmBuffer next_ifm, WeiBuffer next_wei, OfmBuffer other_ofm,
                      N::Grad bias[Lanes], const Word* source, const Word* second,
                      const Word* weights, Word* out) {
#pragma HLS INLINE off
#pragma HLS DATAFLOW
  compute(ifm, ofm, wei, t.slot, t.kernel, t.rows, t.cols, t.ifm_cols, t.ofm_cols, t.update, bias,
          t.with_bias);
  next_input(t.load, next_ifm, source, t.source, t.next);
  next_weights(t.load_wei, next_wei, t.next_slot, weights, t.next_offset, t.kernel * t.kernel,
               t.backward);
  other_output(t.load_loss, t.store, other_ofm, second, out, t.loss, t.next_loss, t.made, t.before,
               t.flags);
}

}  // namespace ef

#endif
