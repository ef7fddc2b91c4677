"""Layers as the engine sees them: shapes, layouts of maps, what is trained."""
