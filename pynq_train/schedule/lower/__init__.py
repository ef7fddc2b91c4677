"""Lowering: the fields of each descriptor, the program, its step block and its records."""
