// SPDX-License-Identifier: Apache-2.0
#include "ef_top.hpp"

#include "ef_products.hpp"
#include "ef_update.hpp"

// Four ports, as the paper's four DMA channels: input, output buffer, weights, results.
void ef_train(int pass, EfLayer layer, const ef::Word* ifm, const ef::Word* ofm,
              const ef::Word* wei, ef::Word* out) {
#pragma HLS INTERFACE mode=m_axi port=ifm bundle=ifm offset=slave max_read_burst_length=256
#pragma HLS INTERFACE mode=m_axi port=ofm bundle=ofm offset=slave max_read_burst_length=256
#pragma HLS INTERFACE mode=m_axi port=wei bundle=wei offset=slave max_read_burst_length=256
#pragma HLS INTERFACE mode=m_axi port=out bundle=out offset=slave max_write_burst_length=256
#pragma HLS INTERFACE mode=s_axilite port=pass
#pragma HLS INTERFACE mode=s_axilite port=layer
#pragma HLS INTERFACE mode=s_axilite port=return
#pragma HLS AGGREGATE variable=ifm compact=auto
#pragma HLS AGGREGATE variable=ofm compact=auto
#pragma HLS AGGREGATE variable=wei compact=auto
#pragma HLS AGGREGATE variable=out compact=auto
  static ef::Buffers buffers;
#pragma HLS ARRAY_PARTITION variable=buffers.ifm0 complete dim=1
#pragma HLS ARRAY_PARTITION variable=buffers.ifm1 complete dim=1
#pragma HLS ARRAY_PARTITION variable=buffers.ofm0 complete dim=1
#pragma HLS ARRAY_PARTITION variable=buffers.ofm1 complete dim=1
#pragma HLS ARRAY_PARTITION variable=buffers.wei0 complete dim=1
#pragma HLS ARRAY_PARTITION variable=buffers.wei0 complete dim=2
#pragma HLS ARRAY_PARTITION variable=buffers.wei1 complete dim=1
#pragma HLS ARRAY_PARTITION variable=buffers.wei1 complete dim=2
#pragma HLS ARRAY_PARTITION variable=buffers.bias complete dim=1
// The multipliers are the scarce part: one array for all passes. Their callers are inlined here, so
// that the limit sees all calls.
#pragma HLS ALLOCATION function instances=run_round limit=1
  if (pass == ef::Update)
    ef::run_update(buffers, layer, ifm, ofm, wei, out);
  else
    ef::run_products(buffers, layer, pass == ef::Backward, ifm, ofm, wei, out);
}

void ef_pool(int backward, int planes, int rows, int cols, const ef::Word* in, ef::Index* index,
             ef::Word* out) {
#pragma HLS INTERFACE mode=m_axi port=in bundle=in offset=slave
#pragma HLS INTERFACE mode=m_axi port=index bundle=index offset=slave
#pragma HLS INTERFACE mode=m_axi port=out bundle=out offset=slave
#pragma HLS INTERFACE mode=s_axilite port=backward
#pragma HLS INTERFACE mode=s_axilite port=planes
#pragma HLS INTERFACE mode=s_axilite port=rows
#pragma HLS INTERFACE mode=s_axilite port=cols
#pragma HLS INTERFACE mode=s_axilite port=return
  if (backward)
    ef::pool_backward(in, index, out, planes, rows, cols);
  else
    ef::pool_forward(in, index, out, planes, rows, cols);
}
