// SPDX-License-Identifier: Apache-2.0
// Settings of an activation, and the only place where they are decoded from a descriptor's fields.
//
// Units pass them on as they are; only pt_activation, forward, and pt_activation_grad, backward,
// look inside. A new activation changes these two and this file.
package pt_activation_pkg;
  // A function takes a whole section: which of its fields an activation needs is its own business.
  /* verilator lint_off UNUSEDSIGNAL */

  // Forward.
  typedef struct packed {
    logic        relu;        // negative values become zero
    logic        above_zero;  // the flag asks for a value above zero
    logic [15:0] limit;       // larger values become the limit; none from 32768
  } activation_t;

  // Backward.
  typedef struct packed {
    logic masked;             // gradients pass only where the flag is set; else all of them
  } activation_grad_t;

  // Store unit. Without ReLU every element has a gradient.
  function automatic activation_t of_store(input pt_abi_pkg::y_t          y,
                                           input pt_abi_pkg::conv_param_t param);
    of_store = {y.relu, y.relu, y.clip[0] ? param.limit : pt_abi_pkg::NoLimit};
  endfunction

  // Vector unit. Without ReLU a flag tells that a result is positive; with a dropout all are set,
  // and pt_vector_flags clears those of dropped elements.
  function automatic activation_t of_vector(input pt_abi_pkg::v_t            v,
                                            input pt_abi_pkg::vector_param_t param);
    of_vector = {v.v_relu, v.v_relu | ~v.v_drop, v.v_clip[0] ? param.limit : pt_abi_pkg::NoLimit};
  endfunction

  // Loaders: gradients of a layer's output. Flags of a pooled map have the mask too.
  function automatic activation_grad_t of_load(input pt_abi_pkg::addr_gen_t addr_gen);
    of_load = addr_gen.mode == 2'(pt_abi_pkg::LoadMask) ||
              addr_gen.mode == 2'(pt_abi_pkg::LoadUnpool);
  endfunction

  // Vector unit: its two maps. Flags are read or written, not both.
  function automatic activation_grad_t of_vector_a(input pt_abi_pkg::v_t v);
    of_vector_a = v.v_mask_a & ~v.v_flags;
  endfunction
  function automatic activation_grad_t of_vector_b(input pt_abi_pkg::v_t v);
    of_vector_b = v.v_mask_b & ~v.v_flags;
  endfunction

  /* verilator lint_on UNUSEDSIGNAL */
endpackage
