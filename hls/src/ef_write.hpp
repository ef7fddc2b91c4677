// SPDX-License-Identifier: Apache-2.0
// Where a step of the array writes its sums, and a C simulation of how late that is.
//
// In hardware a step reads, multiplies, adds and writes one behind the other, while later steps have
// begun: what it writes is there for the step AddDistance later, and perhaps not before. C knows
// nothing of that. With -DEF_WRITE_DELAY=n what is written can be read n steps later and not before:
// an order of steps that comes back to a sum too early gives wrong sums then, as it does in hardware.
#ifndef EF_WRITE_HPP
#define EF_WRITE_HPP

#include "ef_config.hpp"

#ifndef EF_WRITE_DELAY
#define EF_WRITE_DELAY 0  // hardware: the pipeline itself
#endif

namespace ef {

template <int Delay> class Writes {
 public:
  Writes() : now_(0) {
    for (int k = 0; k < Delay; k++) forget(late_[k]);
  }
  ~Writes() {
    for (int k = 0; k < Delay; k++) tick();
  }
  // A step begins, or an empty one passes.
  void tick() {
    now_ = (now_ + 1) % Delay;
    Late& late = late_[now_];
    if (late.ofm != 0) put_sums(late.ofm, late.at, late.sum);
    if (late.wei != 0) put_taps(late.wei, late.at, late.taps);
    forget(late);
  }
  void sums(OfmBuffer ofm, int at, const N::Sum sum[Lanes]) {
    late_[now_].ofm = ofm;
    late_[now_].at = at;
    for (int m = 0; m < Lanes; m++) late_[now_].sum[m] = sum[m];
  }
  void taps(WeiBuffer wei, int at, const N::Grad taps[Lanes][Lanes]) {
    late_[now_].wei = wei;
    late_[now_].at = at;
    for (int m = 0; m < Lanes; m++) {
      for (int n = 0; n < Lanes; n++) late_[now_].taps[m][n] = taps[m][n];
    }
  }

 private:
  struct Late {
    N::Sum (*ofm)[OfmWords];
    N::Grad (*wei)[Lanes][WeiWords];
    int at;
    N::Sum sum[Lanes];
    N::Grad taps[Lanes][Lanes];
  };
  static void forget(Late& late) {
    late.ofm = 0;
    late.wei = 0;
  }
  static void put_sums(OfmBuffer ofm, int at, const N::Sum sum[Lanes]) {
    for (int m = 0; m < Lanes; m++) ofm[m][at] = sum[m];
  }
  static void put_taps(WeiBuffer wei, int at, const N::Grad taps[Lanes][Lanes]) {
    for (int m = 0; m < Lanes; m++) {
      for (int n = 0; n < Lanes; n++) wei[m][n][at] = taps[m][n];
    }
  }
  Late late_[Delay];
  int now_;
};

// Hardware: written at once, as far as C is concerned.
template <> class Writes<0> {
 public:
  void tick() {}
  void sums(OfmBuffer ofm, int at, const N::Sum sum[Lanes]) {
#pragma HLS INLINE
    for (int m = 0; m < Lanes; m++) {
#pragma HLS UNROLL
      ofm[m][at] = sum[m];
    }
  }
  void taps(WeiBuffer wei, int at, const N::Grad taps[Lanes][Lanes]) {
#pragma HLS INLINE
    for (int m = 0; m < Lanes; m++) {
#pragma HLS UNROLL
      for (int n = 0; n < Lanes; n++) {
#pragma HLS UNROLL
        wei[m][n][at] = taps[m][n];
      }
    }
  }
};

}  // namespace ef

#endif
