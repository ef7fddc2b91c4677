"""Mutation testing: small faults drawn at random, and which tests notice them (``make mutants``).

Python faults come from cosmic-ray's operators and a few of our own (``operators.py``), RTL faults
from Yosys' ``mutate``. ``python -m mutants --help`` lists what a campaign can be told.
"""
