"""Types and limits of all that is read from files, line by line: who changes one reads it here.

``PYTHONPATH=tests/unit/train python -m test_saved_limits`` writes the file of the lines anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pynq_train.files.schema import Either, Items, Maybe, Record, Schema, Table, Text
from pynq_train.quant import policy
from pynq_train.run import failure
from pynq_train.train import history, state

FILE = Path(__file__).with_name("saved_limits.txt")
SCHEMAS: dict[str, Schema] = {"checkpoint": state.STATE, "epochs": history.EPOCHS,
                              "tally": history.TALLY, "exponents": policy._SAVED,
                              "failure": failure.META}


def lines(schema: Schema, where: str) -> Iterator[str]:
    """A line for each value that a file may have, and for each list and table."""
    if isinstance(schema, Record):
        yield f"{where}: names{', and others' if schema.open else ''}"
        for name, own in schema.fields.items():
            yield from lines(own, f"{where}.{name}{'?' if name in schema.optional else ''}")
    elif isinstance(schema, Items):
        yield f"{where}: {schema.least} to {schema.most} values"
        yield from lines(schema.of, f"{where}[]")
    elif isinstance(schema, Table):
        yield f"{where}: at most {schema.most} names"
        yield from lines(schema.of, f"{where}.*")
    elif isinstance(schema, Maybe):
        yield from lines(schema.of, f"{where} or nothing")
    elif isinstance(schema, Either):
        yield from lines(schema.one, f"{where} as a text")
        yield from lines(schema.other, f"{where} as a list")
    elif isinstance(schema, Text):
        yield f"{where}: {schema.most} characters, {', '.join(sorted(schema.among)) or 'any'}"
    else:
        yield f"{where}: {schema}"


def text() -> str:
    return "\n".join(line for name, schema in SCHEMAS.items() for line in lines(schema, name))


def test_limits_are_what_is_on_record() -> None:
    assert text().splitlines() == FILE.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    FILE.write_text(text() + "\n", encoding="utf-8")
