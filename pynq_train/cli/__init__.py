"""The command line: ``pynq-train demo | train | evaluate | plan | verify``."""
