"""Lowering: fields of each descriptor, bytes of a program, step block, result records."""
