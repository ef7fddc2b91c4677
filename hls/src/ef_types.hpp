// SPDX-License-Identifier: Apache-2.0
// Data types of the kernel: float, and 16-bit fixed point that needs no vendor library.
#ifndef EF_TYPES_HPP
#define EF_TYPES_HPP

#include <cstdint>

namespace ef {

// What the kernel asks of a data type T:
//   Sum   one element of the output buffer: a partial sum, or a number that waits to be multiplied
//   Grad  one element of the weight buffer: a weight, or a partial gradient
//   multiply(T, T) -> Product; add(Sum, Product); add(Grad, Product)
template <class T> struct Traits;

template <> struct Traits<float> {
  typedef float Sum;
  typedef float Grad;
  typedef float Product;
  typedef float Rate;

  static float zero() { return 0.0f; }
  static float multiply(float a, float b) { return a * b; }
  static float add(float a, float b) { return a + b; }
  static float hold(float value) { return value; }        // T -> Sum or Grad, to be multiplied
  static float held(float value) { return value; }        // and back
  static float begin(float value) { return value; }       // T -> Sum at the scale of products
  static float round(float sum) { return sum; }           // Sum at that scale -> T
  static bool positive(float value) { return value > 0.0f; }
  static Rate rate(float lr) { return lr; }
  static float step(float weight, float grad, Rate lr) { return weight - lr * grad; }
};

// A number raw * 2^-Frac; sums and gradients are exact multiples of 2^-(2 Frac).
template <int Frac> struct Fixed16 {
  std::int16_t raw;
};

template <int Frac> struct Traits<Fixed16<Frac> > {
  typedef Fixed16<Frac> T;
  typedef std::int64_t Sum;   // 48 bits are used: one DSP accumulator
  typedef std::int32_t Grad;  // saturates: +-2^(31 - 2 Frac)
  typedef std::int32_t Product;
  typedef std::int32_t Rate;  // Q7.24

  static const int RateBits = 24;

  static T zero() { T z = {0}; return z; }
  static Product multiply(T a, T b) { return Product(a.raw) * b.raw; }
  static Sum add(Sum a, Product b) { return a + b; }
  static Grad add(Grad a, Product b) { return saturate32(std::int64_t(a) + b); }
  static std::int32_t hold(T value) { return value.raw; }
  static T held(std::int64_t value) { T v = {std::int16_t(value)}; return v; }
  static Sum begin(T value) { return Sum(value.raw) * (1 << Frac); }
  static T round(Sum sum) { return saturate16(rounded(sum, Frac)); }
  static bool positive(T value) { return value.raw > 0; }
  static Rate rate(float lr) { return Rate(lr * float(1 << RateBits) + 0.5f); }
  static T step(T weight, Grad grad, Rate lr) {
    const std::int64_t change = rounded(std::int64_t(lr) * grad, RateBits + Frac);
    return saturate16(weight.raw - change);
  }

 private:
  // To nearest, halves upwards.
  static std::int64_t rounded(std::int64_t value, int bits) {
    return (value + (std::int64_t(1) << (bits - 1))) >> bits;
  }
  static T saturate16(std::int64_t value) {
    T v = {std::int16_t(value > 32767 ? 32767 : value < -32768 ? -32768 : value)};
    return v;
  }
  static Grad saturate32(std::int64_t value) {
    return Grad(value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : value);
  }
};

// Sum of N products as a balanced tree: FP32 adders do not form one by themselves.
template <class T, int N> struct Tree {
  static typename Traits<T>::Sum sum(const typename Traits<T>::Product* p) {
#pragma HLS INLINE
    return Tree<T, N / 2>::sum(p) + Tree<T, N - N / 2>::sum(p + N / 2);
  }
};
template <class T> struct Tree<T, 1> {
  static typename Traits<T>::Sum sum(const typename Traits<T>::Product* p) {
#pragma HLS INLINE
    return p[0];
  }
};

}  // namespace ef

#endif
