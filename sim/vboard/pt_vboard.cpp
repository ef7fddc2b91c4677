// SPDX-License-Identifier: Apache-2.0
// The Verilated pt_top with its device memory and its AXI4-Lite host, behind a plain C interface.
//
// Functions that return int give 0, or -1 with the reason in ptv_error(). One cycle is two
// evaluations: with the clock low blocks that rest are chosen (pt_clock_gate), with the clock high
// registers change. The memory's pins pass registers (pt_vboard.sv): it answers what the engine's
// pins show before the edge, and its answer stands at the engine's pins behind the edge.
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "Vpt_vboard.h"
#include "pt_axi_mem.hpp"
#include "verilated.h"
#if VM_COVERAGE
#include "verilated_cov.h"
#endif
#ifdef PTV_TRACE
#include "verilated_vcd_c.h"
#endif

// $fatal, $stop and $finish of the RTL must not end the Python process.
void vl_fatal(const char* file, int line, const char*, const char* text) {
  throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + text);
}
void vl_stop(const char* file, int line, const char*) { vl_fatal(file, line, "", "$stop"); }
void vl_finish(const char* file, int line, const char*) { vl_fatal(file, line, "", "$finish"); }

namespace {

constexpr int kResetCycles = 16;
constexpr int kLiteCycles = 1000;

// Pins of the AXI4-Lite slave in the cycle that just ended.
struct Lite {
  bool awready, wready, bvalid, arready, rvalid;
  uint8_t bresp, rresp;
  uint32_t rdata;
};

}  // namespace

struct ptv_board {
  VerilatedContext context;
  std::unique_ptr<Vpt_vboard> top;
  pt::AxiMem memory;
  Lite lite{};
  uint64_t cycles = 0;
  uint64_t last_edge = ~uint64_t(0);  // the clock stands still from this cycle on
  std::string error;
#ifdef PTV_TRACE
  std::unique_ptr<VerilatedVcdC> trace;
#endif

  explicit ptv_board(const pt::MemConfig& config) : memory(config) {
    context.randReset(2);
    context.randSeed(int(config.seed & 0x7FFFFFFF) | 1);
#ifdef PTV_TRACE
    context.traceEverOn(true);
#endif
    top = std::make_unique<Vpt_vboard>(&context, "pt_vboard");
Vpt_vboard& t = *top;
    for (int n = 0; n < pt::kPorts; ++n)
      memory.connect(
          n, {&t.m_axi_araddr[n],  &t.m_axi_awaddr[n],  &t.m_axi_wdata[n],   &t.m_axi_arlen[n],
              &t.m_axi_arsize[n],  &t.m_axi_arburst[n], &t.m_axi_arvalid[n], &t.m_axi_rready[n],
              &t.m_axi_awlen[n],   &t.m_axi_awsize[n],  &t.m_axi_awburst[n], &t.m_axi_awvalid[n],
              &t.m_axi_wstrb[n],   &t.m_axi_wlast[n],   &t.m_axi_wvalid[n],  &t.m_axi_bready[n],
              &t.m_axi_rdata[n],   &t.m_axi_arready[n], &t.m_axi_rresp[n],   &t.m_axi_rlast[n],
              &t.m_axi_rvalid[n],  &t.m_axi_awready[n], &t.m_axi_wready[n],  &t.m_axi_bresp[n],
              &t.m_axi_bvalid[n]});
    reset();
  }

  void reset() {
    Vpt_vboard& t = *top;
    t.s_axi_awvalid = t.s_axi_wvalid = t.s_axi_bready = t.s_axi_arvalid = t.s_axi_rready = 0;
    t.s_axi_awaddr = t.s_axi_araddr = 0;
    t.s_axi_wdata = 0;
    t.s_axi_wstrb = 0xF;
    memory.drive();
    t.moved = 0xF;
    t.aresetn = 0;
    for (int i = 0; i < kResetCycles; ++i) {
      t.aclk = 0;
      t.eval();
      t.aclk = 1;
      t.eval();
    }
    t.aresetn = 1;
  }

  void tick() {
    if (cycles >= last_edge) {
      ++cycles;
      return;
    }
    Vpt_vboard& t = *top;
    memory.sample();
    t.moved = memory.drive();
    t.aclk = 0;
    t.eval();
    dump();
    t.aclk = 1;
    t.eval();
    dump();
    ++cycles;
  }

  // A cycle in which the host takes part.
  void tick_lite() {
    Vpt_vboard& t = *top;
    t.eval();  // the host's pins settle
    lite = {bool(t.s_axi_awready), bool(t.s_axi_wready), bool(t.s_axi_bvalid),
            bool(t.s_axi_arready), bool(t.s_axi_rvalid), uint8_t(t.s_axi_bresp),
            uint8_t(t.s_axi_rresp), uint32_t(t.s_axi_rdata)};
    tick();
  }

  uint32_t read(uint32_t offset) {
    Vpt_vboard& t = *top;
    t.s_axi_araddr = offset & 0xFFF;
    t.s_axi_arvalid = 1;
    t.s_axi_rready = 1;
    for (int i = 0; i < kLiteCycles; ++i) {
      tick_lite();
      if (lite.arready) t.s_axi_arvalid = 0;
      if (lite.rvalid) {
        t.s_axi_arvalid = t.s_axi_rready = 0;
        if (lite.rresp) throw std::runtime_error("register read was answered with an error");
        return lite.rdata;
      }
    }
    t.s_axi_arvalid = t.s_axi_rready = 0;
    throw std::runtime_error("register read was not answered");
  }

  void write(uint32_t offset, uint32_t value) {
    Vpt_vboard& t = *top;
    t.s_axi_awaddr = offset & 0xFFF;
    t.s_axi_wdata = value;
    t.s_axi_awvalid = t.s_axi_wvalid = t.s_axi_bready = 1;
    for (int i = 0; i < kLiteCycles; ++i) {
      tick_lite();
      if (lite.awready) t.s_axi_awvalid = 0;
      if (lite.wready) t.s_axi_wvalid = 0;
      if (lite.bvalid) {
        t.s_axi_awvalid = t.s_axi_wvalid = t.s_axi_bready = 0;
        if (lite.bresp) throw std::runtime_error("register write was answered with an error");
        return;
      }
    }
    t.s_axi_awvalid = t.s_axi_wvalid = t.s_axi_bready = 0;
    throw std::runtime_error("register write was not answered");
  }

  // Up to `limit` cycles; ends early at the interrupt or when (watched register & mask) changes.
  void run(uint64_t limit, uint32_t offset, uint32_t mask, uint32_t interval) {
    const uint64_t end = cycles + limit;
    const uint32_t before = mask ? read(offset) & mask : 0;
    while (cycles < end && !top->irq) {
      const uint64_t stop = mask && end - cycles > interval ? cycles + interval : end;
      while (cycles < stop && !top->irq) tick();
      if (mask && (read(offset) & mask) != before) return;
    }
  }

  void dump() {
#ifdef PTV_TRACE
    context.timeInc(1);
    if (trace) trace->dump(context.time());
#endif
  }
};

namespace {

std::string g_error;

template <typename F>
int guarded(ptv_board* b, F&& body) {
  try {
    body();
    if (b->memory.violation()[0]) {
      b->error = std::string("AXI rule broken: ") + b->memory.violation();
      return -1;
    }
    return 0;
  } catch (const std::exception& e) {
    b->error = e.what();
    return -1;
  }
}

}  // namespace

extern "C" {

// The DRAM stays the caller's; null on failure, with the reason in ptv_error(null).
ptv_board* ptv_create(const pt::MemConfig* config) {
  try {
    return new ptv_board(*config);
  } catch (const std::exception& e) {
    g_error = e.what();
    return nullptr;
  }
}

void ptv_destroy(ptv_board* b) {
#ifdef PTV_TRACE
  if (b->trace) b->trace->close();
#endif
  b->top->final();
  delete b;
}

const char* ptv_error(const ptv_board* b) { return b ? b->error.c_str() : g_error.c_str(); }

int ptv_read32(ptv_board* b, uint32_t offset, uint32_t* value) {
  return guarded(b, [&] { *value = b->read(offset); });
}

int ptv_write32(ptv_board* b, uint32_t offset, uint32_t value) {
  return guarded(b, [&] { b->write(offset, value); });
}

int ptv_run(ptv_board* b, uint64_t limit, uint32_t offset, uint32_t mask, uint32_t interval) {
  return guarded(b, [&] { b->run(limit, offset, mask, interval); });
}

uint64_t ptv_cycles(const ptv_board* b) { return b->cycles; }
int ptv_irq(const ptv_board* b) { return b->top->irq; }
uint64_t ptv_turns(const ptv_board* b) { return b->memory.turns(); }

void ptv_counters(const ptv_board* b, int port, pt::PortCounters* out) {
  *out = b->memory.counters(port);
}

void ptv_set_stalls(ptv_board* b, uint32_t per_4096) { b->memory.set_stalls(per_4096); }

void ptv_inject(ptv_board* b, int port, int write, uint64_t skip, int resp) {
  b->memory.inject(port, write != 0, skip, uint8_t(resp));
}

void ptv_silence(ptv_board* b, int port, int write, uint64_t skip) {
  b->memory.silence(port, write != 0, skip);
}

// After `after` more cycles `count` words or write responses come that nobody asked for.
void ptv_stray(ptv_board* b, int port, int write, uint64_t after, uint32_t count, int last) {
  b->memory.stray(port, write != 0, after, count, last != 0);
}

// The clock stops after `cycles` more cycles; time goes on.
void ptv_stop_clock(ptv_board* b, uint64_t cycles) { b->last_edge = b->cycles + cycles; }

// Record a waveform from now on; -1 if the model was built without traces.
int ptv_trace(ptv_board* b, const char* path) {
#ifdef PTV_TRACE
  b->trace = std::make_unique<VerilatedVcdC>();
  b->top->trace(b->trace.get(), 99);
  b->trace->open(path);
  return 0;
#else
  (void)path;
  b->error = "the model was built without traces";
  return -1;
#endif
}

// Write the counts of lines and toggles; -1 if the model was built without them.
int ptv_counts(ptv_board* b, const char* path) {
#if VM_COVERAGE
  b->context.coveragep()->write(path);
  return 0;
#else
  (void)path;
  b->error = "the model was built without counts";
  return -1;
#endif
}

}  // extern "C"
