"""Layers as the engine sees them: shapes, layouts of feature maps, what is trained."""
