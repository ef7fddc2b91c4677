"""A tree of small networks: the root picks a group of classes, a leaf the class in it."""

from pynq_train.fleet.hierarchy.groups import groups_of
from pynq_train.fleet.hierarchy.tree import Hierarchy, TreeResult

__all__ = ["Hierarchy", "TreeResult", "groups_of"]
