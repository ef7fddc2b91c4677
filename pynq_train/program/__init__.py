"""Programs: the bytes that every backend executes, their container file and their verifier."""

from pynq_train.program.codec import disassemble, load, save
from pynq_train.program.program import Program, Region
from pynq_train.program.verify import verify_program

__all__ = ["Program", "Region", "disassemble", "load", "save", "verify_program"]
