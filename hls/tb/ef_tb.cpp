// SPDX-License-Identifier: Apache-2.0
// Bench of the kernel alone, for csim_design: random layers against plain loops. Leaves with 0 if
// all three passes and both ways of the pooling agree. tests/unit/eftrain compares more layers with
// NumPy.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "ef_top.hpp"

namespace {

typedef std::vector<double> Reals;
const int Cases = 12;

double to_real(ef::Number x) {
#ifdef EF_FIXED_FRAC
  return std::ldexp(double(x.raw), -EF_FIXED_FRAC);
#else
  return x;
#endif
}

ef::Number to_number(double x) {
#ifdef EF_FIXED_FRAC
  ef::Number n = {std::int16_t(std::floor(std::ldexp(x, EF_FIXED_FRAC) + 0.5))};
  return n;
#else
  return float(x);
#endif
}

#ifdef EF_FIXED_FRAC
const double Bound = std::ldexp(0.51, -EF_FIXED_FRAC);
#else
const double Bound = 1e-4;
#endif

int below(int n) { return std::rand() / 7 % n; }
double value() { return (below(257) - 128) / 256.0; }

// Tensors lie plain here, [image][channel][row][col] and [m][n][row][col], and tiled in the kernel.
struct Tiled {
  std::vector<ef::Word> words;
  explicit Tiled(int numbers) : words((numbers + ef::PerWord - 1) / ef::PerWord) {}
  ef::Number& at(int i) { return words[i / ef::PerWord].v[i % ef::PerWord]; }
};

int tiles(int channels) { return (channels + ef::Lanes - 1) / ef::Lanes; }
int map_at(int b, int ch, int r, int c, int channels, int rows, int cols) {
  return (((b * tiles(channels) + ch / ef::Lanes) * rows + r) * cols + c) * ef::Lanes +
         ch % ef::Lanes;
}
int weight_at(int m, int n, int tap, int n_channels, int taps) {
  return (((m / ef::Lanes * tiles(n_channels) + n / ef::Lanes) * taps + tap) * ef::Lanes +
          m % ef::Lanes) * ef::Lanes + n % ef::Lanes;
}

Tiled pack(const Reals& x, int batch, int channels, int rows, int cols) {
  Tiled t(batch * tiles(channels) * ef::Lanes * rows * cols);
  for (int i = 0; i < int(t.words.size()) * ef::PerWord; i++) t.at(i) = ef::N::zero();
  for (int b = 0, i = 0; b < batch; b++)
    for (int ch = 0; ch < channels; ch++)
      for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++, i++)
          t.at(map_at(b, ch, r, c, channels, rows, cols)) = to_number(x[i]);
  return t;
}

int compare(const char* what, Tiled& t, const Reals& x, int batch, int channels, int rows,
            int cols) {
  for (int b = 0, i = 0; b < batch; b++)
    for (int ch = 0; ch < channels; ch++)
      for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++, i++) {
          const double found = to_real(t.at(map_at(b, ch, r, c, channels, rows, cols)));
          if (!(std::fabs(found - x[i]) <= Bound)) {
            std::printf("%s [%d][%d][%d][%d]: expected %g, found %g\n", what, b, ch, r, c, x[i],
                        found);
            return 1;
          }
        }
  return 0;
}

int run_case(int number) {
  EfLayer l;
  l.batch = 1 + below(3);
  l.m = 1 + below(2 * ef::Lanes);
  l.n = 1 + below(3 * ef::Lanes);
  l.kernel = 1 + below(4);
  l.stride = 1 + below(2);
  l.pad_top = below(l.kernel);
  l.pad_left = below(l.kernel);
  l.rows = 1 + below(5);
  l.cols = 1 + below(5);
  l.in_rows = (l.rows - 1) * l.stride + l.kernel - l.pad_top;
  l.in_cols = (l.cols - 1) * l.stride + l.kernel - l.pad_left;
  l.on_chip = ef::Lanes;
  l.rate = 0.0625f;
  const int taps = l.kernel * l.kernel, outs = l.batch * l.m * l.rows * l.cols;
  Reals x(l.batch * l.n * l.in_rows * l.in_cols), w(l.m * l.n * taps), bias(l.m), loss(outs);
  for (double& v : x) v = value();
  for (double& v : w) v = value();
  for (double& v : bias) v = value();
  for (double& v : loss) v = value();

  Reals y(outs), dx(x.size(), 0.0), dw(w.size(), 0.0), db(l.m, 0.0);
  for (int b = 0, i = 0; b < l.batch; b++)
    for (int m = 0; m < l.m; m++)
      for (int r = 0; r < l.rows; r++)
        for (int c = 0; c < l.cols; c++, i++) {
          y[i] = bias[m];
          db[m] += loss[i];
          for (int n = 0; n < l.n; n++)
            for (int k = 0; k < taps; k++) {
              const int row = r * l.stride - l.pad_top + k / l.kernel;
              const int col = c * l.stride - l.pad_left + k % l.kernel;
              if (row < 0 || row >= l.in_rows || col < 0 || col >= l.in_cols) continue;
              const int at = ((b * l.n + n) * l.in_rows + row) * l.in_cols + col;
              y[i] += w[(m * l.n + n) * taps + k] * x[at];
              dx[at] += w[(m * l.n + n) * taps + k] * loss[i];
              dw[(m * l.n + n) * taps + k] += loss[i] * x[at];
            }
        }
  for (double& v : y) v = v > 0 ? v : 0;
  for (size_t i = 0; i < x.size(); i++) dx[i] = x[i] > 0 ? dx[i] : 0;

  const int bias_at = tiles(l.m) * tiles(l.n) * taps * ef::Lanes * ef::Lanes;
  Tiled wt(bias_at + tiles(l.m) * ef::Lanes);
  for (int i = 0; i < int(wt.words.size()) * ef::PerWord; i++) wt.at(i) = ef::N::zero();
  for (int m = 0; m < l.m; m++) {
    wt.at(bias_at + m) = to_number(bias[m]);
    for (int n = 0; n < l.n; n++)
      for (int k = 0; k < taps; k++)
        wt.at(weight_at(m, n, k, l.n, taps)) = to_number(w[(m * l.n + n) * taps + k]);
  }
  Tiled xt = pack(x, l.batch, l.n, l.in_rows, l.in_cols);
  Tiled lt = pack(loss, l.batch, l.m, l.rows, l.cols);
  Tiled yt = lt, dt = xt, nt = wt;
  int wrong = 0;

  l.tile_rows = 1 + below(l.rows);
  l.flags = ef::Relu | ef::Bias;
  ef_train(ef::Forward, l, xt.words.data(), 0, wt.words.data(), yt.words.data());
  wrong += compare("forward", yt, y, l.batch, l.m, l.rows, l.cols);

  l.tile_rows = 1 + below(l.in_rows);
  l.flags = ef::Mask;
  ef_train(ef::Backward, l, lt.words.data(), xt.words.data(), wt.words.data(), dt.words.data());
  wrong += compare("backward", dt, dx, l.batch, l.n, l.in_rows, l.in_cols);

  l.tile_rows = 1 + below(l.rows);
  l.flags = ef::Bias;
  ef_train(ef::Update, l, xt.words.data(), lt.words.data(), wt.words.data(), nt.words.data());
  for (int m = 0; m < l.m && !wrong; m++) {
    double worst = std::fabs(to_real(nt.at(bias_at + m)) - (bias[m] - l.rate * db[m]));
    for (int i = m * l.n * taps; i < (m + 1) * l.n * taps; i++) {
      const double found = to_real(nt.at(weight_at(m, i / taps % l.n, i % taps, l.n, taps)));
      worst = std::fmax(worst, std::fabs(found - (w[i] - l.rate * dw[i])));
    }
    if (!(worst <= Bound)) {
      std::printf("update of output channel %d: off by %g\n", m, worst);
      wrong++;
    }
  }
  if (wrong)
    std::printf("case %d: m %d n %d rows %d cols %d kernel %d stride %d padding %d %d\n", number,
                l.m, l.n, l.rows, l.cols, l.kernel, l.stride, l.pad_top, l.pad_left);
  return wrong;
}

int run_pool(int number) {
  const int rows = 2 + below(5), cols = 2 + below(5), lanes = ef::Lanes;
  Reals x(lanes * rows * cols), y(lanes * (rows / 2) * (cols / 2)), dx(x.size(), 0.0);
  for (double& v : x) v = below(4);
  for (int m = 0, i = 0; m < lanes; m++)
    for (int r = 0; r < rows / 2; r++)
      for (int c = 0; c < cols / 2; c++, i++) {
        int best = (m * rows + 2 * r) * cols + 2 * c;
        for (int k = 1; k < 4; k++) {
          const int at = (m * rows + 2 * r + k / 2) * cols + 2 * c + k % 2;
          if (x[at] > x[best]) best = at;
        }
        y[i] = x[best];
        dx[best] = y[i];
      }
  Tiled xt = pack(x, 1, lanes, rows, cols), yt = pack(y, 1, lanes, rows / 2, cols / 2), dt = xt;
  std::vector<ef::Index> index(yt.words.size());
  ef_pool(0, 1, rows, cols, xt.words.data(), index.data(), yt.words.data());
  ef_pool(1, 1, rows, cols, yt.words.data(), index.data(), dt.words.data());
  const int wrong = compare("pooling", yt, y, 1, lanes, rows / 2, cols / 2) +
                    compare("pooling backward", dt, dx, 1, lanes, rows, cols);
  if (wrong) std::printf("pooling case %d: %d x %d\n", number, rows, cols);
  return wrong;
}

}  // namespace

int main() {
  std::srand(1);
  int wrong = 0;
  for (int i = 0; i < Cases; i++) wrong += run_case(i) + run_pool(i);
  std::printf("%d cases, %d wrong\n", Cases, wrong);
  return wrong != 0;
}
