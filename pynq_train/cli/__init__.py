"""The command line: ``pynq-train demo | train | finetune | evaluate | plan | verify``."""
