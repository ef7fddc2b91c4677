"""The self-test of an installation: ``pytest --pyargs pynq_train``, on a PC or on a board.

It needs pytest and NumPy. What it compares with stands in ``digests.json``, which
``python -m pynq_train.selftest`` writes again after a change of scheduler or contract.
"""
