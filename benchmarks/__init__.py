"""Benchmarks: what is measured, and the pages that are written from it."""
