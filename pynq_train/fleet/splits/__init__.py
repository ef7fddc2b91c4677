"""A network split over boards: what a split costs, and which is best.

A vertical cut ends one segment and begins the next: the boards form a pipeline. A horizontal split
makes branches of the first layers, each with a part of their channels, on boards side by side.
Cycles are predicted by the cycle model; links, hosts and power are given, so that what follows from
them is an estimate.
"""
