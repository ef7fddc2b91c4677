"""From fused layers to a Program: layouts, tiles, descriptors, cycle model."""
