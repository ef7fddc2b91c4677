// SPDX-License-Identifier: Apache-2.0
// One build of the kernel: data type, lanes and buffers. All are macros of the compiler's command
// line; pynq_train.eftrain.search() finds values for a chip.
#ifndef EF_CONFIG_HPP
#define EF_CONFIG_HPP

#include "ef_types.hpp"

#ifndef EF_LANES
#define EF_LANES 6  // Tm = Tn: channels of a tile; the array has EF_LANES^2 multipliers
#endif
#ifndef EF_WORDS_PER_CYCLE
#define EF_WORDS_PER_CYCLE 1  // numbers in one beat of a port; divides EF_LANES
#endif
#ifndef EF_IFM_WORDS
#define EF_IFM_WORDS 2048  // pixels in one bank of the input buffer, one copy
#endif
#ifndef EF_OFM_WORDS
#define EF_OFM_WORDS 1024  // pixels in one bank of the output buffer, one copy
#endif
#ifndef EF_WEI_WORDS
#define EF_WEI_WORDS 1024  // taps in one bank of the weight buffer, one copy
#endif
#ifndef EF_BIAS_TILES
#define EF_BIAS_TILES 64  // tiles of output channels whose biases are held
#endif

namespace ef {

#ifdef EF_FIXED_FRAC
typedef Fixed16<EF_FIXED_FRAC> Number;
#else
typedef float Number;
#endif

const int Lanes = EF_LANES;
const int PerWord = EF_WORDS_PER_CYCLE;
const int WordsPerPixel = Lanes / PerWord;
const int IfmWords = EF_IFM_WORDS;
const int OfmWords = EF_OFM_WORDS;
const int WeiWords = EF_WEI_WORDS;
const int BiasTiles = EF_BIAS_TILES;
const int MaxKernel = 11;
// Cycles between two additions to one partial sum, from the read of its memory to the write: the
// latency of an FP32 adder at 100 MHz and that of the memory. Pragmas of ef_array.hpp say so too.
const int AddDistance = 8;

static_assert(Lanes % PerWord == 0, "EF_WORDS_PER_CYCLE must divide EF_LANES");

typedef Traits<Number> N;

// One beat of a port.
struct Word {
  Number v[PerWord];
};

// Banks are the first dimensions; they are partitioned completely.
typedef Number IfmBuffer[Lanes][IfmWords];
typedef N::Sum OfmBuffer[Lanes][OfmWords];
typedef N::Grad WeiBuffer[Lanes][Lanes][WeiWords];

enum Pass { Forward = 0, Backward = 1, Update = 2 };
enum Flags { Relu = 1, Bias = 2, Mask = 4 };

}  // namespace ef

// One layer and one pass: the control registers.
//
// Maps lie in memory as [image][channel tile][row][column][channel in tile], weights as
// [m tile][n tile][row of kernel][column][m in tile][n in tile], biases behind them as
// [m tile][m in tile]; lanes without a channel hold zeros.
struct EfLayer {
  int batch;
  int m, n;              // output and input channels of the layer, whatever the pass
  int rows, cols;        // its output map
  int in_rows, in_cols;  // its input map
  int kernel, stride, pad_top, pad_left;
  int tile_rows;         // Tr of the map that the pass works through
  int on_chip;           // M_on: channels of that map whose weights stay in the weight buffer
  int flags;             // Forward: Relu, Bias; Backward: Mask by the layer's input; Update: Bias
  float rate;            // Update: w - rate * sum of gradients over the mini-batch
};

#endif
