"""Files: one way to write them, one way to read what others may have made."""

from pynq_train.files.arrays import read_npy, read_npz
from pynq_train.files.read import parse_json, path_text, read_bytes
from pynq_train.files.write import write_atomic

__all__ = ["parse_json", "path_text", "read_bytes", "read_npy", "read_npz", "write_atomic"]
