# Synthesise the kernel with Vitis HLS:
#
#     vitis_hls -f run_hls.tcl                        PYNQ-Z1 and -Z2, FP32, 6 x 6
#     EF_PART=xczu9eg-ffvb1156-2-e EF_FLAGS="-DEF_LANES=16 -DEF_WORDS_PER_CYCLE=4 ..." \
#         vitis_hls -f run_hls.tcl                    another chip or data type
#
# EF_FLAGS are macros of src/ef_config.hpp; EF_STEPS: csim, csynth, export (default: csim and csynth);
# EF_CLOCK_NS: period (default: 10).

proc setting {name default} {
  if {[info exists ::env($name)]} { return $::env($name) }
  return $default
}

set here  [file dirname [file normalize [info script]]]
set part  [setting EF_PART xc7z020clg400-1]
set clock [setting EF_CLOCK_NS 10]
set flags "-std=c++14 [setting EF_FLAGS {}]"
set steps [setting EF_STEPS {csim csynth}]

foreach top {ef_train ef_pool} {
  open_project -reset build_$top
  set_top $top
  add_files "$here/src/ef_top.cpp" -cflags $flags
  add_files -tb "$here/tb/ef_tb.cpp" -cflags "$flags -I$here/src"
  open_solution -reset solution -flow_target vivado
  set_part $part
  create_clock -period $clock
  # Sums are added as a tree that the source spells out; nothing else may be reordered.
  config_compile -unsafe_math_optimizations=0
  foreach step $steps {
    switch $step {
      csim    { csim_design }
      csynth  { csynth_design }
      export  { export_design -format ip_catalog }
      default { error "EF_STEPS: expected csim, csynth or export, found $step" }
    }
  }
  close_project
}
exit
