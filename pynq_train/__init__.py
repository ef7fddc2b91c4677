"""Train small CNNs in the FPGA fabric of a PYNQ board, or on the same RTL on a PC."""

__version__ = "0.1.0"
