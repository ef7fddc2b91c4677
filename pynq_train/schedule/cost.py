"""stub"""
from dataclasses import dataclass
@dataclass(frozen=True)
class Cost:
    key: float
def pass_cost(geometry, board):
    return Cost(-geometry.tile.pixels)
