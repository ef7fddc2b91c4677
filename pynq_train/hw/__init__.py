"""The hardware contract: registers, descriptor fields, opcodes, configurations and boards, as data.

Nothing in this package imports the rest of the project. The SystemVerilog package, the register
file, the .hwh of the virtual board and the reference pages are generated from it
(``python -m pynq_train.hw``).
"""
