../../../rtl/gen/pt_abi_pkg.sv
../../../rtl/gen/pt_spec_pkg.sv
../../../rtl/gen/pt_regs.sv
pt_top.sv
