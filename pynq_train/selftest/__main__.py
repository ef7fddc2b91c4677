"""``python -m pynq_train.selftest`` writes ``digests.json`` from the present scheduler."""

from pynq_train.selftest.digests import write

if __name__ == "__main__":
    write()
