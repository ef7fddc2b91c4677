"""What ``benchmarks/fault_trials.py`` injects, and how it judges."""
