# SPDX-License-Identifier: Apache-2.0
# Builds the overlay of one board with Vivado in batch mode; run it by 'make overlay BOARD=...'.
#
#   vivado -mode batch -source overlays/flow.tcl -tclargs BOARD OUT JOBS
#
# All names and numbers come from overlays/gen, which is generated from the hardware contract. OUT
# receives the bit file, the .hwh, the reports and result.json; nothing is left there as a bit file
# when timing fails.

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

# RTL files in the order of the one file list, with the contract package of the configuration.
proc pt::sources {} {
  variable root
  variable package
  set file [open [file join $root rtl pynq_train.f]]
  set lines [split [string trim [read $file]] "\n"]
  close $file
  set found {}
  foreach line $lines {
    if {[file tail $line] eq [file tail $package]} {
      lappend found [file join $root $package]
    } else {
      lappend found [file join $root rtl $line]
    }
  }
  return $found
}

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
  variable burst_beats
  variable master_bits
  variable master_bytes
  foreach row $buses {
    lassign $row name mode signals
    set bus [bus_interface $core $name interface:aximm $mode]
    foreach pair $signals {
      port_map $bus {*}$pair
    }
    if {$mode eq "slave"} {
      bus_parameter $bus PROTOCOL AXI4LITE
      set_property slave_memory_map_ref $name $bus
    } else {
      bus_parameter $bus PROTOCOL AXI4
      bus_parameter $bus SUPPORTS_NARROW_BURST 0
      bus_parameter $bus MAX_BURST_LENGTH $burst_beats
      set space [ipx::add_address_space $name $core]
      set_property range $master_bytes $space
      set_property width $master_bits $space
      set_property master_address_space_ref $name $bus
    }
  }
}

proc pt::signal_buses {core} {
  variable buses
  variable clock
  variable reset
  variable interrupt
  set names {}
  foreach row $buses {
    lappend names [lindex $row 0]
  }
  set bus [bus_interface $core $clock signal:clock slave]
  port_map $bus CLK $clock
  bus_parameter $bus ASSOCIATED_BUSIF [join $names ":"]
  bus_parameter $bus ASSOCIATED_RESET $reset
  set bus [bus_interface $core $reset signal:reset slave]
  port_map $bus RST $reset
  bus_parameter $bus POLARITY ACTIVE_LOW
  set bus [bus_interface $core $interrupt signal:interrupt master]
  port_map $bus INTERRUPT $interrupt
  bus_parameter $bus SENSITIVITY LEVEL_HIGH
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
  variable part
  variable top
  variable vendor
  variable library
  variable core_name
  variable core_version
  variable parameters
  create_project -force $core_name [file join $out package] -part $part
  add_files -norecurse [sources]
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

# ---- the block design ----------------------------------------------------------------------------

proc pt::block_design {out} {
  variable part
  variable design
  variable cells
  variable external
  variable interfaces
  variable nets
  variable addresses
  create_project -force $design [file join $out project] -part $part
  set_property ip_repo_paths [file join $out ip] [current_project]
  update_ip_catalog
  create_bd_design $design
  foreach row $cells {
    lassign $row name type properties
    set cell [create_bd_cell -type ip -vlnv $type $name]
    if {[llength $properties]} {
      set_property -dict $properties $cell
    }
  }
  foreach row $external {
    lassign $row name type pin
    connect_bd_intf_net [create_bd_intf_port -mode Master -vlnv $type $name] \
      [one get_bd_intf_pins $pin]
  }
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

# The clock in MHz that the processing system really gives; refuses another than the contract's.
proc pt::achieved_clock {} {
  variable clock_pin
  variable clock_mhz
  set found [expr {[get_property CONFIG.FREQ_HZ [one get_bd_pins $clock_pin]] / 1e6}]
  if {abs($found - $clock_mhz) > 1e-3 * $clock_mhz} {
    fail "expected a clock of $clock_mhz MHz, found $found MHz: choose one that the PLL divides to\
      in pynq_train/hw/boards.py"
  }
  return $found
}

# ---- implementation ------------------------------------------------------------------------------

proc pt::finish_run {name} {
  wait_on_run $name
  if {[get_property PROGRESS [get_runs $name]] ne "100%"} {
    fail "expected the run $name to finish, found '[get_property STATUS [get_runs $name]]': see its\
      runme.log"
  }
}

# Negative slack is an error: such a bit file fails on some boards, on warm days.
proc pt::check_timing {} {
  foreach {what property} {setup STATS.WNS hold STATS.WHS} {
    set slack [get_property $property [get_runs impl_1]]
    if {![string is double -strict $slack] || $slack < 0} {
      fail "expected a $what slack of 0 ns or more, found '$slack': see timing.txt"
    }
  }
}

proc pt::implement {out jobs} {
  variable design
  set file [get_files ${design}.bd]
  set wrapper [make_wrapper -files $file -top]
  add_files -norecurse $wrapper
  set_property top ${design}_wrapper [current_fileset]
  update_compile_order -fileset sources_1
  launch_runs synth_1 -jobs $jobs
  finish_run synth_1
  launch_runs impl_1 -to_step route_design -jobs $jobs
  finish_run impl_1
  open_run impl_1
  report_utilization -hierarchical -file [file join $out utilization.txt]
  report_timing_summary -file [file join $out timing.txt]
  check_timing
  write_bitstream -force [file join $out $design.bit]
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
  package_engine $out
  block_design $out
  set clock [achieved_clock]
  implement $out $jobs
  copy_description $out
  set run [get_runs impl_1]
  write [file join $out result.json] [format {{"board": "%s", "configuration": "%s",\
"contract_hash": "%s", "clock_mhz": %s, "setup_slack_ns": %s, "hold_slack_ns": %s,\
"vivado": "%s"}} $board $config $contract_hash $clock [get_property STATS.WNS $run] \
    [get_property STATS.WHS $run] [version -short]]
}

if {[llength $argv] != 3} {
  pt::fail "expected BOARD OUT JOBS, found '$argv': run 'make overlay BOARD=...'"
}
pt::main {*}$argv
