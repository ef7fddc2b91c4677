// SPDX-License-Identifier: Apache-2.0
// Greedy masters on the device memory: what a test needs to measure bandwidth and break rules.
#include "pt_axi_mem.hpp"

namespace {

struct Pins {
  uint64_t araddr = 0, awaddr = 0, wdata = 0, rdata = 0;
  uint8_t arlen = 15, arsize = 3, arburst = 1, arvalid = 0, rready = 1;
  uint8_t awlen = 15, awsize = 3, awburst = 1, awvalid = 0, wstrb = 0xFF, wlast = 0, wvalid = 0,
          bready = 1;
  uint8_t arready = 0, rresp = 0, rlast = 0, rvalid = 0, awready = 0, wready = 0, bresp = 0,
          bvalid = 0;
};

}  // namespace

struct bench_result {
  uint64_t read_beats[4], write_beats[4], responses[4];
  uint64_t first_read_cycle, most_open_reads;
  char violation[160];
};

extern "C" {

// `readers` and `writers` are masks of ports; bursts of `beats` from `offset`, `stride` apart.
void bench_run(const pt::MemConfig* config, int readers, int writers, uint64_t cycles,
               uint64_t offset, uint64_t stride, int beats, uint32_t stalls, bench_result* out) {
  pt::AxiMem memory(*config);
  memory.set_stalls(stalls);
  Pins pin[4];
  uint64_t next_read[4], next_write[4], open[4] = {};
  int beat[4] = {};
  *out = {};
  for (int i = 0; i < 4; ++i) {
    Pins& p = pin[i];
    memory.connect(i, {&p.araddr, &p.awaddr, &p.wdata, &p.arlen, &p.arsize, &p.arburst, &p.arvalid,
                       &p.rready, &p.awlen, &p.awsize, &p.awburst, &p.awvalid, &p.wstrb, &p.wlast,
                       &p.wvalid, &p.bready, &p.rdata, &p.arready, &p.rresp, &p.rlast, &p.rvalid,
                       &p.awready, &p.wready, &p.bresp, &p.bvalid});
    const uint64_t quarter = config->bytes / 4 * i;
    next_read[i] = next_write[i] = config->base + quarter + offset;
    p.arvalid = readers >> i & 1;
    p.awvalid = p.wvalid = writers >> i & 1;
    p.araddr = next_read[i];
    p.awaddr = next_write[i];
    p.arlen = p.awlen = uint8_t(beats - 1);
    p.wlast = beats == 1;
  }
  memory.drive();
  for (uint64_t t = 0; t < cycles; ++t) {
    Pins was[4];
    for (int i = 0; i < 4; ++i) was[i] = pin[i];
    memory.sample();
    for (int i = 0; i < 4; ++i) {
      Pins& p = pin[i];
      const Pins& w = was[i];
      if (w.arvalid && w.arready) {
        p.araddr = next_read[i] += stride;
        if (++open[i] > out->most_open_reads) out->most_open_reads = open[i];
      }
      if (w.awvalid && w.awready) p.awaddr = next_write[i] += stride;
      if (w.wvalid && w.wready) {
        beat[i] = (beat[i] + 1) % beats;
        p.wlast = beat[i] == beats - 1;
        p.wdata += 1;
      }
      if (w.rvalid) {
        if (!out->first_read_cycle) out->first_read_cycle = t;
        ++out->read_beats[i];
        ++out->responses[w.rresp];
        open[i] -= w.rlast;
      }
      if (w.bvalid) {
        out->write_beats[i] += beats;
        ++out->responses[w.bresp];
      }
    }
    memory.drive();
  }
  std::memcpy(out->violation, memory.violation(), sizeof out->violation);
}

}  // extern "C"
