"""Renderers of the contract, one per output."""
