# SPDX-License-Identifier: Apache-2.0
# Builds the overlay of one board with Vivado in batch mode; run it by 'make overlay BOARD=...'.
#
#   vivado -mode batch -source overlays/flow.tcl -tclargs BOARD OUT JOBS
#
# All names and numbers come from overlays/gen, which is generated from the hardware contract. OUT
# receives the bit file, the .hwh, the reports and result.json; nothing is left there as a bit file
# when timing fails. Order: the clocks (a minute; most mistakes show here), the IP, the block design,
# one synthesis per clock, and attempts at placement and routing until the timing is met.

namespace eval pt {
  variable root [file dirname [file dirname [file normalize [info script]]]]
}

# Stop with one sentence.
proc pt::fail {text} {
  return -code error -errorcode PT "overlay: $text"
}

# The one object that `command name` finds.
proc pt::one {command name} {
  set found [$command $name]
  if {[llength $found] != 1} {
    fail "expected one object from '$command $name', found [llength $found]: this version of Vivado\
      names it otherwise; correct pynq_train/hw/emit/tcl.py"
  }
  return $found
}

proc pt::write {path text} {
  set file [open $path w]
  puts $file $text
  close $file
}

# ---- the engine as an IP -------------------------------------------------------------------------

proc pt::bus_interface {core name type mode} {
  set bus [ipx::add_bus_interface $name $core]
  set_property abstraction_type_vlnv "xilinx.com:${type}_rtl:1.0" $bus
  set_property bus_type_vlnv "xilinx.com:${type}:1.0" $bus
  set_property interface_mode $mode $bus
  return $bus
}

proc pt::port_map {bus logical physical} {
  set_property physical_name $physical [ipx::add_port_map $logical $bus]
}

proc pt::bus_parameter {bus name value} {
  set_property value $value [ipx::add_bus_parameter $name $bus]
}

proc pt::axi_buses {core} {
  variable buses
  variable master_bits
  variable master_bytes
  foreach row $buses {
    lassign $row name mode parameters signals
    set bus [bus_interface $core $name interface:aximm $mode]
    foreach pair $signals {
      port_map $bus {*}$pair
    }
    foreach {parameter value} $parameters {
      bus_parameter $bus $parameter $value
    }
    if {$mode eq "slave"} {
      set_property slave_memory_map_ref $name $bus
    } else {
      set space [ipx::add_address_space $name $core]
      set_property range $master_bytes $space
      set_property width $master_bits $space
      set_property master_address_space_ref $name $bus
    }
  }
}

# The reset belongs to no bus: the IP makes it synchronous itself.
proc pt::signal_buses {core} {
  variable buses
  variable clock
  variable reset
  set names {}
  foreach row $buses {
    lappend names [lindex $row 0]
  }
  set bus [bus_interface $core $clock signal:clock slave]
  port_map $bus CLK $clock
  bus_parameter $bus ASSOCIATED_BUSIF [join $names ":"]
  set bus [bus_interface $core $reset signal:reset slave]
  port_map $bus RST $reset
  bus_parameter $bus POLARITY ACTIVE_LOW
}

# One address block with all registers: only registers of the block that the slave bus refers to
# reach the .hwh, and with it the register map that pynq shows.
proc pt::register_block {core} {
  variable register_bus
  variable register_block
  variable register_bytes
  variable register_bits
  variable registers
  set map [ipx::add_memory_map $register_bus $core]
  set block [ipx::add_address_block $register_block $map]
  set_property base_address 0 $block
  set_property range $register_bytes $block
  set_property width $register_bits $block
  set_property usage register $block
  set_property access read-write $block
  foreach row $registers {
    lassign $row name offset access meaning fields
    set register [ipx::add_register $name $block]
    set_property address_offset $offset $register
    set_property size $register_bits $register
    set_property access $access $register
    set_property description $meaning $register
    foreach field_row $fields {
      lassign $field_row field_name first bits field_meaning
      set field [ipx::add_field $field_name $register]
      set_property bit_offset $first $field
      set_property bit_width $bits $field
      set_property access $access $field
      set_property description $field_meaning $field
    }
  }
}

proc pt::package_engine {out} {
  variable root
  variable part
  variable top
  variable sources
  variable vendor
  variable library
  variable core_name
  variable core_version
  variable parameters
  create_project -force $core_name [file join $out package] -part $part
  set files {}
  foreach name $sources {
    lappend files [file join $root $name]
  }
  add_files -norecurse $files
  set_property top $top [current_fileset]
  update_compile_order -fileset sources_1
  ipx::package_project -root_dir [file join $out ip] -vendor $vendor -library $library \
    -taxonomy /UserIP -import_files -set_current true -force
  set core [ipx::current_core]
  set_property name $core_name $core
  set_property version $core_version $core
  set_property display_name $core_name $core
  # What the packager guessed goes: everything is stated.
  ipx::remove_all_bus_interface $core
  foreach map [ipx::get_memory_maps -of_objects $core] {
    ipx::remove_memory_map [get_property name $map] $core
  }
  foreach space [ipx::get_address_spaces -of_objects $core] {
    ipx::remove_address_space [get_property name $space] $core
  }
  register_block $core
  axi_buses $core
  signal_buses $core
  foreach pair $parameters {
    lassign $pair name value
    set parameter [ipx::add_user_parameter $name $core]
    set_property value_resolve_type user $parameter
    set_property value_format string $parameter
    set_property value $value $parameter
  }
  ipx::create_xgui_files $core
  ipx::update_checksums $core
  ipx::check_integrity $core
  ipx::save_core $core
  close_project
}

# ---- the processing system and its clocks --------------------------------------------------------

# A project with an empty block design, of the vendor's board file where Vivado has one that fits.
proc pt::start_design {folder} {
  variable part
  variable design
  variable board_part
  create_project -force $design $folder -part $part
  set with_board 0
  if {$board_part ne ""} {
    set found [lindex [lsort -dictionary [get_board_parts -quiet $board_part:*]] end]
    if {$found ne "" && [get_property PART_NAME $found] eq $part} {
      set_property board_part $found [current_project]
      set with_board 1
    }
  }
  create_bd_design $design
  return $with_board
}

proc pt::add_processing_system {with_board} {
  variable processing_system
  variable processing_system_type
  variable preset
  variable external
  set cell [create_bd_cell -type ip -vlnv $processing_system_type $processing_system]
  if {$with_board} {
    set rule "xilinx.com:bd_rule:[lindex [split $processing_system_type :] end]"
    apply_bd_automation -rule $rule -config {apply_board_preset "1"} $cell
  }
  set properties {}
  foreach pair $preset {
    lappend properties {*}$pair
  }
  set_property -dict $properties $cell
  foreach row $external {
    lassign $row name type pin
    connect_bd_intf_net [create_bd_intf_port -mode Master -vlnv $type $name] \
      [one get_bd_intf_pins $pin]
  }
}

proc pt::ask_for_clock {clock} {
  variable processing_system
  variable clock_property
  set_property -dict [list $clock_property $clock] [one get_bd_cells $processing_system]
  validate_bd_design
}

# What the processing system's IP computed for a clock must be what the boot loader's PLL gives: pynq
# writes these divisors into the clock registers when it loads the overlay.
proc pt::check_clock {clock divisor} {
  variable processing_system
  variable divisor_properties
  variable pll_property
  variable pll_mhz
  variable clock_pin
  set cell [one get_bd_cells $processing_system]
  set found {}
  set product 1
  foreach property $divisor_properties {
    lappend found [get_property $property $cell]
    set product [expr {$product * [lindex $found end]}]
  }
  if {$product != $divisor} {
    set really [expr {$product ? [format %.4g [expr {double($pll_mhz) / $product}]] : "no"}]
    fail "expected divisors whose product is $divisor for $clock MHz, found [join $found { x }]:\
      Vivado multiplies the crystal by [get_property $pll_property $cell], the boot loader has its\
      IO PLL at $pll_mhz MHz, and the board would run at $really MHz; complete the board's preset in\
      pynq_train/hw/presets.py"
  }
  set mhz [expr {[get_property CONFIG.FREQ_HZ [one get_bd_pins $clock_pin]] / 1e6}]
  if {abs($mhz - $clock) > 1e-3 * $clock} {
    fail "expected a clock of $clock MHz, found $mhz MHz: choose one that the PLL divides to in\
      pynq_train/hw/boards.py"
  }
  return $mhz
}

# All clocks of the attempts on the processing system alone, before anything takes time.
proc pt::check_all_clocks {out} {
  variable processing_system
  variable nets
  variable clock_pin
  variable attempts
  add_processing_system [start_design [file join $out clocks]]
  foreach row $nets {
    foreach sink [lassign $row driver] {
      if {$driver eq $clock_pin && [string match "$processing_system/*" $sink]} {
        connect_bd_net [one get_bd_pins $driver] [one get_bd_pins $sink]
      }
    }
  }
  set seen {}
  foreach row $attempts {
    lassign $row clock divisor
    if {$clock ni $seen} {
      ask_for_clock $clock
      check_clock $clock $divisor
      lappend seen $clock
    }
  }
  close_project
}

# ---- the block design ----------------------------------------------------------------------------

proc pt::block_design {out} {
  variable engine
  variable vendor
  variable library
  variable core_name
  variable core_version
  variable interfaces
  variable nets
  variable addresses
  set with_board [start_design [file join $out project]]
  set_property ip_repo_paths [file join $out ip] [current_project]
  update_ip_catalog
  add_processing_system $with_board
  create_bd_cell -type ip -vlnv $vendor:$library:$core_name:$core_version $engine
  foreach row $interfaces {
    lassign $row master slave
    connect_bd_intf_net [one get_bd_intf_pins $master] [one get_bd_intf_pins $slave]
  }
  foreach row $nets {
    foreach sink [lassign $row driver] {
      connect_bd_net [one get_bd_pins $driver] [one get_bd_pins $sink]
    }
  }
  foreach row $addresses {
    lassign $row space segment offset bytes
    assign_bd_address -offset $offset -range $bytes \
      -target_address_space [one get_bd_addr_spaces $space] [one get_bd_addr_segs $segment] -force
  }
  validate_bd_design
  save_bd_design
}

# ---- implementation ------------------------------------------------------------------------------

proc pt::finish_run {name} {
  wait_on_run $name
  if {[get_property PROGRESS [get_runs $name]] ne "100%"} {
    fail "expected the run $name to finish, found '[get_property STATUS [get_runs $name]]': see its\
      runme.log"
  }
}

# Worst slacks of the open design in ns: setup, hold.
proc pt::slacks {} {
  set found {}
  foreach option {-setup -hold} {
    lappend found [get_property SLACK [get_timing_paths $option]]
  }
  return $found
}

# Negative slack is an error: such a bit file fails on some boards, on warm days.
proc pt::timing_met {slacks} {
  foreach slack $slacks {
    if {![string is double -strict $slack] || $slack < 0} {
      return 0
    }
  }
  return 1
}

proc pt::prepare_runs {} {
  variable design
  set wrapper [make_wrapper -files [get_files ${design}.bd] -top]
  add_files -norecurse $wrapper
  set_property top ${design}_wrapper [current_fileset]
  update_compile_order -fileset sources_1
  set_property strategy Flow_PerfOptimized_high [get_runs synth_1]
}

proc pt::synthesise {jobs} {
  reset_run synth_1
  launch_runs synth_1 -jobs $jobs
  finish_run synth_1
}

# One placement and routing; leaves the routed design open and returns its slacks.
proc pt::attempt {out jobs place optimise route} {
  set run [get_runs impl_1]
  set_property STEPS.OPT_DESIGN.ARGS.DIRECTIVE Explore $run
  set_property STEPS.PLACE_DESIGN.ARGS.DIRECTIVE $place $run
  set_property STEPS.PHYS_OPT_DESIGN.IS_ENABLED true $run
  set_property STEPS.PHYS_OPT_DESIGN.ARGS.DIRECTIVE $optimise $run
  set_property STEPS.ROUTE_DESIGN.ARGS.DIRECTIVE $route $run
  reset_run impl_1
  launch_runs impl_1 -to_step route_design -jobs $jobs
  finish_run impl_1
  open_run impl_1
  set slacks [slacks]
  if {![timing_met $slacks]} {
    phys_opt_design -directive AggressiveExplore
    set slacks [slacks]
  }
  report_utilization -hierarchical -file [file join $out utilization.txt]
  report_timing_summary -file [file join $out timing.txt]
  return $slacks
}

# Attempts in their order until one meets the timing: clock, directives and slacks of that one.
proc pt::implement {out jobs} {
  variable design
  variable attempts
  prepare_runs
  set built ""
  set tried {}
  foreach row $attempts {
    lassign $row clock divisor place optimise route
    if {$clock ne $built} {
      open_bd_design [get_files ${design}.bd]
      ask_for_clock $clock
      save_bd_design
      set mhz [check_clock $clock $divisor]
      synthesise $jobs
      set built $clock
    }
    set slacks [attempt $out $jobs $place $optimise $route]
    lappend tried "$clock MHz, $place, $route: [join $slacks { and }]"
    puts "overlay: [lindex $tried end] ns of slack"
    if {[timing_met $slacks]} {
      write_bitstream -force [file join $out $design.bit]
      return [list $mhz "$place, $optimise, $route" {*}$slacks]
    }
    close_design
  }
  fail "expected a setup and a hold slack of 0 ns or more, found ([join $tried {; }]): see\
    timing.txt of the last one"
}

# The description that Vivado wrote of the block design.
proc pt::copy_description {out} {
  variable design
  foreach folder {gen srcs} {
    set path [file join $out project $design.$folder sources_1 bd $design hw_handoff $design.hwh]
    if {[file exists $path]} {
      file copy -force $path [file join $out $design.hwh]
      return
    }
  }
  fail "expected $design.hwh in the folder hw_handoff of the block design, found none: this version\
    of Vivado writes it elsewhere; correct overlays/flow.tcl"
}

proc pt::main {board out jobs} {
  variable root
  variable design
  variable config
  variable contract_hash
  namespace eval :: [list source [file join $root overlays gen core.tcl]]
  namespace eval :: [list source [file join $root overlays gen $board.tcl]]
  file mkdir $out
  file delete -force [file join $out $design.bit] [file join $out result.json]
  check_all_clocks $out
  package_engine $out
  block_design $out
  lassign [implement $out $jobs] clock strategy setup hold
  copy_description $out
  write [file join $out result.json] [format {{"board": "%s", "configuration": "%s",\
"contract_hash": "%s", "clock_mhz": %s, "strategy": "%s", "setup_slack_ns": %s,\
"hold_slack_ns": %s, "vivado": "%s"}} $board $config $contract_hash $clock $strategy $setup $hold \
    [version -short]]
}

if {[llength $argv] != 3} {
  pt::fail "expected BOARD OUT JOBS, found '$argv': run 'make overlay BOARD=...'"
}
pt::main {*}$argv
