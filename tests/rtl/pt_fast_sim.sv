// SPDX-License-Identifier: Apache-2.0
// First in a list of sources: those behind it are built as the virtual board builds them.
`define PT_CLOCK_GATES
`define PT_ARRAY_LANES
