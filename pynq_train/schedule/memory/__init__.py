"""Device memory: where every tensor of a plan stands in the arena."""
