"""The scheduler: fused layers and a board become a plan, and a plan becomes a program.

``specs`` describes layers and layouts, ``passes`` chooses tiles and order, ``memory`` places
tensors, ``lower`` writes descriptor fields. No module here touches a device.
"""
