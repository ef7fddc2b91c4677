// SPDX-License-Identifier: Apache-2.0
// Device memory behind four 64-bit AXI ports that share one DRAM.
//
// Registered slave: every pin it drives is a function of earlier cycles. In every cycle call
// sample() when the master's pins have settled, then drive(): its pins belong to the next cycle.
//
// Time. The DRAM moves `bytes_per_cycle` in total, in one direction at a time; changing it costs
// `turn_cycles`. It stays in a direction until that has had no work for a moment (reads 4 cycles,
// writes 1) or, while the other one waits, for `turn_quantum` cycles. FIFOs decouple the ports: a
// port moves 8 bytes per cycle each way and pauses `burst_cycles` after a burst. A write burst is
// written when all its data have arrived. The first beat of a read comes `read_latency` cycles
// after its address, the answer of a write `write_latency` cycles after its last beat. A port takes
// `outstanding` bursts each way that have no answer; an address beyond them waits.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>

namespace pt {

constexpr int kPorts = 4;
constexpr unsigned kMaxBurst = 16;
constexpr unsigned kOutstanding = 8;
constexpr unsigned kReadFifo = 32;
constexpr unsigned kWriteFifo = 128;
constexpr uint8_t kOkay = 0, kSlverr = 2, kDecerr = 3;

// FIFO in place; N is a power of two and the caller never overfills it.
template <typename T, unsigned N>
class Ring {
 public:
  bool empty() const { return head_ == tail_; }
  unsigned size() const { return tail_ - head_; }
  T& front() { return item_[head_ & (N - 1)]; }
  void pop() { ++head_; }
  T& push() { return item_[tail_++ & (N - 1)]; }

 private:
  static_assert((N & (N - 1)) == 0, "depth must be a power of two");
  T item_[N];
  unsigned head_ = 0, tail_ = 0;
};

// Pins of one master port, by address.
struct AxiPins {
  const uint64_t *araddr, *awaddr, *wdata;
  const uint8_t *arlen, *arsize, *arburst, *arvalid, *rready;
  const uint8_t *awlen, *awsize, *awburst, *awvalid, *wstrb, *wlast, *wvalid, *bready;
  uint64_t* rdata;
  uint8_t *arready, *rresp, *rlast, *rvalid, *awready, *wready, *bresp, *bvalid;
};

struct MemConfig {
  uint8_t* dram;
  uint64_t base, bytes;
  uint32_t bytes_per_cycle;
  uint32_t read_latency, write_latency;
  uint32_t burst_cycles, turn_cycles, turn_quantum;
  uint32_t outstanding;  // 1..kOutstanding
  uint64_t seed;
};

struct PortCounters {
  uint64_t read_beats, write_beats, read_bursts, write_bursts;
};

class AxiMem {
 public:
  explicit AxiMem(const MemConfig& config) : c_(config), rng_(config.seed | 1) {
    for (Port& p : port_) p.out.arready = p.out.awready = p.out.wready = 1;
  }

  void connect(int port, const AxiPins& pins) { port_[port].pin = pins; }

  // Probability that a channel stalls in a cycle, in 1/4096.
  void set_stalls(uint32_t per_4096) {
    stalls_ = per_4096;
    for (Port& p : port_) p.rests = false;
  }

  // Answer `resp` to one beat of a port: the one after `skip` more beats.
  void inject(int port, bool write, uint64_t skip, uint8_t resp) {
    Injection& i = write ? port_[port].inject_write : port_[port].inject_read;
    i = {true, skip, resp};
  }

  // Never answer again on a port, after `skip` more beats: no read data, no write responses.
  void silence(int port, bool write, uint64_t skip) {
    (write ? port_[port].mute_write : port_[port].mute_read) = {true, skip};
  }

  // Answers that nobody asked for, after `after` more cycles: words (the last one with RLAST if
  // `last`), or write responses.
  void stray(int port, bool write, uint64_t after, uint32_t count, bool last) {
    Port& p = port_[port];
    (write ? p.stray_write : p.stray_read) = {now_ + after, count, last};
    p.rests = false;
  }

  const char* violation() const { return violation_; }
  const PortCounters& counters(int port) const { return port_[port].count; }
  uint64_t turns() const { return turns_; }

  void sample() {
    uint32_t pending = 0;
    unsigned rest = 0;
    for (int i = 0; i < kPorts; ++i) {
      Port& p = port_[i];
      const AxiPins& pin = p.pin;
      if (p.rests && !(*pin.arvalid | *pin.awvalid | *pin.wvalid)) {
        rest |= 1u << i;
        continue;
      }
      pending |= handshakes(i, p);
    }
    if (pending) serve();
    for (int i = 0; i < kPorts; ++i) {
      Port& p = port_[i];
      if (rest >> i & 1) continue;
      present(p);
      p.rests = idle(p);
    }
    ++now_;
  }

  // Write the pins that changed; bit n of the result: some of port n did.
  uint8_t drive() {
    unsigned moved = 0;
    for (int i = 0; i < kPorts; ++i) {
      Port& p = port_[i];
      if (!std::memcmp(&p.out, &p.shown, sizeof p.out)) continue;
      p.shown = p.out;
      moved |= 1u << i;
      *p.pin.arready = p.out.arready;
      *p.pin.awready = p.out.awready;
      *p.pin.wready = p.out.wready;
      *p.pin.rvalid = p.out.rvalid;
      *p.pin.rdata = p.out.rdata;
      *p.pin.rresp = p.out.rresp;
      *p.pin.rlast = p.out.rlast;
      *p.pin.bvalid = p.out.bvalid;
      *p.pin.bresp = p.out.bresp;
    }
    return uint8_t(moved);
  }

 private:
  struct Burst {
    uint64_t address, due;
    unsigned beats;
    uint8_t resp;
  };
  struct ReadBeat {
    uint64_t data;
    uint8_t resp, last;
  };
  struct WriteBeat {
    uint64_t data;
    uint8_t strobe, last;
  };
  struct Answer {
    uint64_t due;
    uint8_t resp;
  };
  struct Outputs {
    uint64_t rdata = 0;
    uint8_t arready = 0, rresp = 0, rlast = 0, rvalid = 0, awready = 0, wready = 0, bresp = 0,
            bvalid = 0;
  };
  static_assert(sizeof(Outputs) == 16, "compared as a whole: no padding");
  struct Injection {
    bool armed = false;
    uint64_t skip = 0;
    uint8_t resp = 0;
    uint8_t apply(uint8_t r) {
      if (!armed) return r;
      if (skip) {
        --skip;
        return r;
      }
      armed = false;
      return resp;
    }
  };
  struct Mute {
    bool armed = false;
    uint64_t skip = 0;
    bool now() const { return armed && !skip; }
    void beat() { skip -= skip != 0; }
  };
  struct Strays {
    uint64_t due = 0;
    uint32_t left = 0;
    bool last = false;
    bool now = false;  // one stands at the pins
    bool next(uint64_t cycle) {
      now = left && due <= cycle;
      left -= now;
      return now;
    }
  };
  // What a channel offered and the slave did not take: it must stand still.
  struct Held {
    bool held = false;
    uint64_t payload = 0;
    bool broken(bool valid, bool ready, uint64_t now) {
      const bool bad = held && (!valid || payload != now);
      held = valid && !ready;
      payload = now;
      return bad;
    }
  };
  struct Port {
    AxiPins pin{};
    Outputs out, shown;  // of the next cycle, of this one
    Ring<Burst, kOutstanding> reads, writes;
    Ring<ReadBeat, kReadFifo> read_fifo;
    Ring<WriteBeat, kWriteFifo> write_fifo;
    Ring<Answer, kOutstanding> answers;
    unsigned reads_open = 0, writes_open = 0;
    uint64_t read_free = 0, write_free = 0;
    bool write_begun = false;
    Injection inject_read, inject_write;
    Mute mute_read, mute_write;
    Strays stray_read, stray_write;
    Held held_ar, held_aw, held_w;
    bool rests = false;  // until the master offers something
    PortCounters count{};
  };

  // Take what master and slave agreed on in this cycle; nonzero if the DRAM has work.
  uint32_t handshakes(int index, Port& p) {
    const AxiPins& pin = p.pin;
    Outputs& out = p.out;
    if (out.rvalid && *pin.rready) {
      out.rvalid = 0;
      if (p.stray_read.now) {
        p.stray_read.now = false;
      } else if (out.rlast) {
        --p.reads_open;
        p.read_free = now_ + 1 + c_.burst_cycles;
      }
    }
    if (out.bvalid && *pin.bready) {
      out.bvalid = 0;
      p.writes_open -= !p.stray_write.now;
      p.stray_write.now = false;
    }
    if (*pin.arvalid || p.held_ar.held) {
      const uint64_t payload = *pin.araddr << 8 | *pin.arlen;
      if (p.held_ar.broken(*pin.arvalid, out.arready, payload)) fail(index, "AR changed", payload);
      if (*pin.arvalid && out.arready) {
        accept(index, p.reads.push(), *pin.araddr, *pin.arlen, *pin.arsize, *pin.arburst);
        ++p.reads_open;
        ++p.count.read_bursts;
      }
    }
    if (*pin.awvalid || p.held_aw.held) {
      const uint64_t payload = *pin.awaddr << 8 | *pin.awlen;
      if (p.held_aw.broken(*pin.awvalid, out.awready, payload)) fail(index, "AW changed", payload);
      if (*pin.awvalid && out.awready) {
        accept(index, p.writes.push(), *pin.awaddr, *pin.awlen, *pin.awsize, *pin.awburst);
        ++p.writes_open;
        ++p.count.write_bursts;
      }
    }
    if (*pin.wvalid || p.held_w.held) {
      if (p.held_w.broken(*pin.wvalid, out.wready, *pin.wdata)) fail(index, "W changed", 0);
      if (*pin.wvalid && out.wready) {
        p.write_fifo.push() = {*pin.wdata, *pin.wstrb, *pin.wlast};
        if (*pin.wlast) p.write_free = now_ + 1 + c_.burst_cycles;
      }
    }
    return p.reads.size() | p.writes.size();
  }

  // Nothing under way, and as ready as can be: the next cycles change nothing.
  bool idle(const Port& p) const {
    const Outputs& out = p.out;
    return !stalls_ && !p.reads_open && !p.writes_open && p.write_fifo.empty() &&
           !p.stray_read.left && !p.stray_write.left && out.arready && out.awready && out.wready && !out.rvalid && !out.bvalid &&
           !p.held_ar.held && !p.held_aw.held && !p.held_w.held;
  }

  void accept(int index, Burst& b, uint64_t address, unsigned len, unsigned size, unsigned kind) {
    const unsigned beats = len + 1;
    b = {address, now_ + c_.read_latency, beats, kOkay};
    if (beats > kMaxBurst) fail(index, "burst longer than 16 beats", address);
    if (size != 3 || kind != 1) fail(index, "burst is not INCR of 8 bytes", address);
    if (address & 7) fail(index, "address is not a multiple of 8", address);
    if ((address & 4095) + 8 * beats > 4096) fail(index, "burst crosses a 4 KB border", address);
    if (address < c_.base || address - c_.base + 8 * beats > c_.bytes) b.resp = kDecerr;
  }

  bool can_read(Port& p) {
    return !p.reads.empty() && p.reads.front().due <= now_ + 1 && p.read_fifo.size() < kReadFifo &&
           !p.mute_read.now();
  }

  bool can_write(Port& p) {
    if (p.writes.empty()) return false;
    const unsigned beats = p.writes.front().beats;
    return p.write_fifo.size() >= (p.write_begun ? 1 : beats < kMaxBurst ? beats : kMaxBurst);
  }

  // The DRAM: as many beats as the bandwidth allows, ports in turn.
  void serve() {
    const uint32_t rate = c_.bytes_per_cycle;
    credit_ = credit_ + rate > rate + 7 ? rate + 7 : credit_ + rate;
    uint32_t reads = 0, writes = 0;
    for (int i = 0; i < kPorts; ++i) {
      reads |= uint32_t(can_read(port_[i])) << i;
      writes |= uint32_t(can_write(port_[i])) << i;
    }
    if (turn_left_) {
      --turn_left_;
      credit_ = 0;
      return;
    }
    uint32_t mine = writing_ ? writes : reads;
    const uint32_t other = writing_ ? reads : writes;
    idle_ = mine ? 0 : idle_ + 1;
    ++age_;
    if (other && (idle_ >= (writing_ ? 1u : 4u) || age_ >= c_.turn_quantum)) {
      writing_ = !writing_;
      turn_left_ = c_.turn_cycles;
      idle_ = age_ = 0;
      ++turns_;
      return;
    }
    for (; mine && credit_ >= 8; turn_ = (turn_ + 1) % kPorts) {
      Port& p = port_[turn_];
      if (!(mine >> turn_ & 1)) continue;
      credit_ -= 8;
      if (writing_)
        write_beat(turn_, p);
      else
        read_beat(p);
      if (!(writing_ ? can_write(p) : can_read(p))) mine &= ~(1u << turn_);
    }
  }

  void read_beat(Port& p) {
    Burst& b = p.reads.front();
    ReadBeat& beat = p.read_fifo.push();
    beat.data = 0;
    if (b.resp == kOkay) std::memcpy(&beat.data, c_.dram + (b.address - c_.base), 8);
    beat.resp = p.inject_read.apply(b.resp);
    beat.last = --b.beats == 0;
    b.address += 8;
    ++p.count.read_beats;
    p.mute_read.beat();
    if (beat.last) p.reads.pop();
  }

  void write_beat(int index, Port& p) {
    Burst& b = p.writes.front();
    const WriteBeat& beat = p.write_fifo.front();
    p.write_begun = true;
    if (b.resp != kDecerr) {
      uint8_t* to = c_.dram + (b.address - c_.base);
      if (beat.strobe == 0xFF) {
        std::memcpy(to, &beat.data, 8);
      } else {
        for (int i = 0; i < 8; ++i)
          if (beat.strobe >> i & 1) to[i] = uint8_t(beat.data >> 8 * i);
      }
    }
    const uint8_t injected = p.inject_write.apply(kOkay);
    if (injected != kOkay && b.resp == kOkay) b.resp = injected;
    b.address += 8;
    ++p.count.write_beats;
    p.mute_write.beat();
    const bool last = --b.beats == 0;
    if (bool(beat.last) != last) fail(index, "WLAST at the wrong beat", b.address - 8);
    p.write_fifo.pop();
    if (last) {
      p.answers.push() = {now_ + c_.write_latency, b.resp};
      p.writes.pop();
      p.write_begun = false;
    }
  }

  // Pins of the next cycle.
  void present(Port& p) {
    const uint64_t draw = stalls_ ? random() : ~0ull;
    const auto go = [&](int channel) { return (draw >> 12 * channel & 4095) >= stalls_; };
    Outputs& out = p.out;
    if (!out.rvalid && p.stray_read.next(now_ + 1)) {
      out.rvalid = 1;
      out.rdata = random();
      out.rresp = kOkay;
      out.rlast = p.stray_read.last && !p.stray_read.left;
    }
    if (!out.bvalid && p.stray_write.next(now_ + 1)) {
      out.bvalid = 1;
      out.bresp = kOkay;
    }
    if (!out.rvalid && !p.read_fifo.empty() && p.read_free <= now_ + 1 && go(0)) {
      const ReadBeat& beat = p.read_fifo.front();
      out.rvalid = 1;
      out.rdata = beat.data;
      out.rresp = beat.resp;
      out.rlast = beat.last;
      p.read_fifo.pop();
    }
    if (!out.bvalid && !p.answers.empty() && p.answers.front().due <= now_ + 1 &&
        !p.mute_write.now() && go(1)) {
      out.bvalid = 1;
      out.bresp = p.answers.front().resp;
      p.answers.pop();
    }
    out.arready = p.reads_open < c_.outstanding && go(2);
    out.awready = p.writes_open < c_.outstanding && go(3);
    out.wready = p.write_fifo.size() < kWriteFifo && p.write_free <= now_ + 1 && go(4);
  }

  uint64_t random() {  // xorshift64
    rng_ ^= rng_ << 13;
    rng_ ^= rng_ >> 7;
    rng_ ^= rng_ << 17;
    return rng_;
  }

  void fail(int port, const char* rule, uint64_t address) {
    if (violation_[0]) return;
    std::snprintf(violation_, sizeof violation_, "port %d: %s (0x%llx) in cycle %llu", port, rule,
                  static_cast<unsigned long long>(address), static_cast<unsigned long long>(now_));
  }

  MemConfig c_;
  Port port_[kPorts];
  uint64_t now_ = 0, rng_, turns_ = 0;
  uint32_t stalls_ = 0, credit_ = 0, turn_left_ = 0, idle_ = 0, age_ = 0;
  int turn_ = 0;  // port that is served next
  bool writing_ = false;
  char violation_[160] = "";
};

}  // namespace pt
