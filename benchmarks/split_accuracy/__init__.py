"""Accuracy of ResNet-20 whole and in branches: Table I of Gacoin's splits, on the engine."""
