"""Measurements and campaigns that are run by hand."""
