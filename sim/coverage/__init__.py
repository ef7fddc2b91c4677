"""Coverage of the RTL by the test suite: lines and toggles, counted by Verilator."""
