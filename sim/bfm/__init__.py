"""Shared helpers of the cocotb benches."""
