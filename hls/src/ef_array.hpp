// SPDX-License-Identifier: Apache-2.0
// The array: Lanes x Lanes multipliers with adders that all three passes share.
//
//              multiplied              added up               partial sums in
//   Forward    input  x weight         tree over n            output buffer [m]
//   Backward   loss   x turned weight  tree over n            output buffer [m]
//   Update     input  x loss           no tree                weight buffer [m][n]
//
// One step is one position of the output tile and one tap of the kernel. Forward and Backward walk
// all positions for each tap, Update all taps for each position: the same partial sum comes back
// only after many steps, which an FP32 adder needs.
#ifndef EF_ARRAY_HPP
#define EF_ARRAY_HPP

#include "ef_config.hpp"
#include "ef_write.hpp"

namespace ef {

// One axis of a tile: tap k at step t of the axis meets output place first[k] + t * out_step and
// input place from[k] + t * in_step.
struct Axis {
  int count[MaxKernel];  // steps
  int first[MaxKernel];
  int from[MaxKernel];
  int out_step, in_step;
};

// Division that rounds up, also of negative numbers.
inline int ceil_div(int a, int b) {
#pragma HLS INLINE
  return a >= 0 ? (a + b - 1) / b : -(-a / b);
}

// First place of the input that a tile reads, and how many. ``begin`` and ``size`` are those of the
// tile in the produced map.
inline int window_begin(bool backward, int begin, int kernel, int stride, int pad) {
#pragma HLS INLINE
  return backward ? ceil_div(begin + pad - (kernel - 1), stride) : begin * stride - pad;
}
inline int window_size(bool backward, int begin, int size, int kernel, int stride, int pad) {
#pragma HLS INLINE
  if (!backward) return (size - 1) * stride + kernel;
  // The last loss pixel below the tile's last pixel.
  const int shift = begin + pad - (kernel - 1);
  return (size - 1 + kernel - 1 + shift - stride * ceil_div(shift, stride)) / stride + 1;
}

// Backward is the adjoint of Forward for every stride: a loss pixel meets only the input pixels
// that it came from. Between them lie stride - 1 zeros, which are skipped, not multiplied.
inline Axis make_axis(bool backward, int begin, int size, int kernel, int stride, int pad) {
#pragma HLS INLINE off
  Axis axis;
  axis.out_step = backward ? stride : 1;
  axis.in_step = backward ? 1 : stride;
  const int shift = begin + pad - (kernel - 1);
  const int over = shift - stride * ceil_div(shift, stride);  // -stride < over <= 0
taps:
  for (int k = 0; k < kernel; k++) {
    if (backward) {
      const int place = over + k;
      const int first = (stride - (place + stride) % stride) % stride;
      axis.first[k] = first;
      axis.from[k] = (place + first) / stride;
      axis.count[k] = first < size ? (size - 1 - first) / stride + 1 : 0;
    } else {
      axis.first[k] = 0;
      axis.from[k] = k;
      axis.count[k] = size;
    }
  }
  return axis;
}

// The multipliers and adders. ``wide`` is set for Update: products stay apart.
inline void multiply_add(const Number x[Lanes], N::Sum sum[Lanes], N::Grad wei[Lanes][Lanes],
                         bool wide) {
#pragma HLS INLINE
  for (int m = 0; m < Lanes; m++) {
#pragma HLS UNROLL
    N::Product product[Lanes];
    for (int n = 0; n < Lanes; n++) {
#pragma HLS UNROLL
      const Number other = wide ? N::held(sum[m]) : N::held(wei[m][n]);
      product[n] = N::multiply(x[n], other);
      if (wide) wei[m][n] = N::add(wei[m][n], product[n]);
    }
    if (!wide) sum[m] = sum[m] + Tree<Number, Lanes>::sum(product);
  }
}

// One step: read the banks, multiply, write the partial sums back.
inline void step(const IfmBuffer ifm, int x_at, OfmBuffer ofm, int o_at, WeiBuffer wei, int w_at,
                 bool wide, Writes<EF_WRITE_DELAY>& writes) {
#pragma HLS INLINE
  Number x[Lanes];
  N::Sum sum[Lanes];
  N::Grad taps[Lanes][Lanes];
  for (int m = 0; m < Lanes; m++) {
#pragma HLS UNROLL
    x[m] = ifm[m][x_at];
    sum[m] = ofm[m][o_at];
    for (int n = 0; n < Lanes; n++) taps[m][n] = wei[m][n][w_at];
  }
  multiply_add(x, sum, taps, wide);
  if (wide)
    writes.taps(wei, w_at, taps);
  else
    writes.sums(ofm, o_at, sum);
}

// One tile of input channels and one tile of output channels: all positions and taps of a tile.
// Update sums gradients (``wide``); ``bias`` then gathers the loss itself if ``with_bias`` is set.
inline void compute(const IfmBuffer ifm, OfmBuffer ofm, WeiBuffer wei, int slot, int kernel,
                    const Axis& rows, const Axis& cols, int ifm_cols, int ofm_cols, bool wide,
                    N::Grad bias[Lanes], bool with_bias) {
#pragma HLS INLINE off
  const int taps = kernel * kernel;
  const int outer = wide ? rows.count[0] * cols.count[0] : taps;
  int kr = 0, kc = 0, r = 0, c = 0;
  Writes<EF_WRITE_DELAY> writes;
outer:
  for (int o = 0; o < outer; o++) {
    const int inner = wide ? taps : rows.count[kr] * cols.count[kc];
    // A short loop waits for its own sums. Within the loop no sum comes twice; the next loop begins
    // with the same sums in the same order, so it comes back to each after these steps or more.
    const int steps = inner < AddDistance ? AddDistance : inner;
  inner:
    for (int i = 0; i < steps; i++) {
#pragma HLS PIPELINE II=1
// The distance is AddDistance; the pragma wants a literal.
#pragma HLS DEPENDENCE variable=ofm type=inter direction=RAW distance=8 dependent=true
#pragma HLS DEPENDENCE variable=wei type=inter direction=RAW distance=8 dependent=true
#pragma HLS DEPENDENCE variable=bias type=inter direction=RAW distance=8 dependent=true
      writes.tick();
      const int in_row = rows.from[kr] + r * rows.in_step;
      const int in_col = cols.from[kc] + c * cols.in_step;
      const int out_row = rows.first[kr] + r * rows.out_step;
      const int out_col = cols.first[kc] + c * cols.out_step;
      const int o_at = out_row * ofm_cols + out_col;
      if (i < inner) {
        step(ifm, in_row * ifm_cols + in_col, ofm, o_at, wei, slot + kr * kernel + kc, wide, writes);
        if (with_bias && i == 0) {
          for (int m = 0; m < Lanes; m++) {
#pragma HLS UNROLL
            // The loss at the scale of products.
            bias[m] = N::add(bias[m], N::Product(N::begin(N::held(ofm[m][o_at]))));
          }
        }
        if (wide) {
          kc++;
          if (kc == kernel) {
            kc = 0;
            kr++;
          }
        } else {
          c++;
          if (c == cols.count[kc]) {
            c = 0;
            r++;
          }
        }
      }
    }
    if (wide) {
      kr = 0;
      c++;
      if (c == cols.count[0]) {
        c = 0;
        r++;
      }
    } else {
      r = 0;
      kc++;
      if (kc == kernel) {
        kc = 0;
        kr++;
      }
    }
  }
}

}  // namespace ef

#endif
