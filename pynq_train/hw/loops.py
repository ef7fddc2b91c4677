"""What each opcode computes, as loops: the text beside its fields in ``docs/gen/descriptors.md``.

This is what golden does; the hardware does the same in another order, tile by tile. Names with an
underscore are fields of the descriptor, or of its step-block entry.
"""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.hw.commands import Opcode


@dataclass(frozen=True)
class Loop:
    """One thing that an opcode does.

    Attributes:
        title: which of them; empty: the only one.
        note: a remark in a sentence or less.
        text: the loops, as lines of pseudo-code.
    """

    title: str
    note: str
    text: str


LOOPS: dict[Opcode, tuple[Loop, ...]] = {
    Opcode.FENCE: (Loop("", "", """\
start nothing; all behind it wait until all before it have retired
"""),),
    Opcode.CONV: (
        Loop("forward", "windows are s rows and t columns apart", """\
for image, m, row r, column c of the output:                  # before pooling
    t = bias[m] << bias_shift                                 # 0 without; negative: RNE
    for n, kr, kc:
        t += x[image, n, r*s + kr - top, c*t + kc - left] * w[m, n, kr, kc]
    y = round(t);  y = max(y, 0) if relu;  y = min(y, limit) if clip
    if pool: keep the largest of 2 x 2, and its argmax index
    store y; store mask (and index) if flags
"""),
        Loop("backward", "one descriptor per row phase of the stride s", """\
for image, n, row r with (r + top) % s = phase, column c of the input:
    t = 0
    for m, kr, kc with o*s + kr - top = r and p*t + kc - left = c:
        t += dy[image, m, o, p] * w[m, n, kr, kc]             # dy: masked by flags, unpooled
    store round(t)
"""),
    ),
    Opcode.UPDATE: (
        Loop("", "biases, gamma and beta: sums from memory", """\
for i in u_count:
    update(master[i], sum[i])

update({v, w}, g):                                            # numerics.md, section 4
    if w is absent: v = 0, copy = 0
    else: v = momentum*v + decay*w + g;  w -= lr * (nesterov ? momentum*v + decay*w + g : v)
    store {v, w};  store round(w) as 16-bit copy if u_copy    # w_shift
"""),
    ),
    Opcode.SOFTMAX: (
        Loop("", "loss and gradient of the logits", """\
for image:
    if f_mse: d[c] = z[c] - (c == label);  loss += SUM d[c]^2
    else:     p = softmax(z);  d[c] = p[c] - target[c];  loss += cross-entropy
    correct += (first largest z is the label's)
    store d if f_grad, zeros for images from valid on         # these count in nothing
record: {loss, correct, 0, 0}
"""),
    ),
    Opcode.GRADIENT: (
        Loop("", "the weight gradient and the update of these weights", """\
for m, n, kr, kc:
    g = 0
    for image, row r, column c of the output:
        g += dy[image, m, r, c] * x[image, n, r*s + kr - top, c*t + kc - left]
    update(master[m, n, kr, kc], g)                           # g goes through the gradient queue
for m, with a bias: store SUM dy[image, m, r, c] as int64     # an UPDATE takes it
"""),
    ),
    Opcode.VECTOR: (
        Loop("", "element by element; masks and coefficients as its fields say", """\
for block, image, word of the plane, lane:                    # channel = 4*block + lane
    a = load map a;  b = load map b if v_b                    # v_spread: one b per plane
    a = 0 where v_mask_a and the flag is 0;  b likewise       # v_drop: both 0 where it is dropped
    S1 += a;  S2 += v_square ? a*a : a*b
    t = A*a + B*b + C                                         # v_reduce: plane summed, C once
    y = round(t);  y = max(y, 0) if v_relu;  y = min(y, limit) if v_clip
    store y if v_write;  store flag if v_flags
store S1, S2 of each channel if v_sums
"""),
    ),
    Opcode.NORM: (
        Loop("", "coefficients of all channels, in soft floats", """\
for channel:
    S1, S2 = SUM of the parts      # forward: x, x*x; backward: gradient, gradient*x
    FORWARD          mean, var from S1, S2;  running statistics move
                     A = gamma / sqrt(var + eps);  C = beta - mean*A
    FORWARD_FROZEN   the same with the running statistics, which stay; no sums are read
    BACKWARD         dgamma, dbeta;  A, B, C so that the gradient is A*a + B*b + C
    BACKWARD_FROZEN  dgamma, dbeta, A;  B = C = 0
    FORWARD_GROUP, BACKWARD_GROUP
                     the same with gamma 1, beta 0, no running statistics: an image's group of
                     channels stands for a channel;  n_join: sums of a word's channels are added up
    store A, B, C in the table;  store dgamma, dbeta (backward), mean and 1 / deviation (forward)
"""),
    ),
    Opcode.POOL: (
        Loop("", "windows of 1 to 3 pixels a side", """\
forward    for image, channel, window (r, p):
               y = largest pixel;  index = 3*i + j of the first of them
               store y;  store index if p_argmax
backward   for image, channel, pixel (y, x):
               store round(SUM of dy[r, p] whose index names (y, x))
"""),
    ),
}
"""The loops of every opcode."""
