"""What travels between the members of a fleet: messages of a JSON header and raw arrays."""

from pynq_train.fleet.wire.message import (
    ANSWER,
    ERROR,
    MOST_BYTES,
    REQUEST,
    Arrays,
    Head,
    Message,
    Values,
    decode,
    encode,
    head_of,
)

__all__ = ["ANSWER", "ERROR", "MOST_BYTES", "REQUEST", "Arrays", "Head", "Message", "Values",
           "decode", "encode", "head_of"]
