// SPDX-License-Identifier: Apache-2.0
// The two kernels as the processor sees them.
#ifndef EF_TOP_HPP
#define EF_TOP_HPP

#include "ef_pool.hpp"

extern "C" {

// One pass of one layer over the mini-batch (see EfLayer for layouts).
//
//   pass      ifm             ofm                       wei       out
//   Forward   input           -                         weights   output
//   Backward  loss of output  input, if Mask is set     weights   loss of input
//   Update    input           loss of output            weights   new weights (may be wei)
void ef_train(int pass, EfLayer layer, const ef::Word* ifm, const ef::Word* ofm,
              const ef::Word* wei, ef::Word* out);

// 2x2 max pooling of ``planes`` = images x channel tiles maps of rows x cols; backward from the
// loss of the pooled map to that of the map.
void ef_pool(int backward, int planes, int rows, int cols, const ef::Word* in, ef::Index* index,
             ef::Word* out);
}

#endif
