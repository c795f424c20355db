"""What the readers of model files raise, and how a file's own words come into it."""


class CheckpointError(Exception):
    """A model file is missing, damaged, of an unknown format, or does not fit the model it claims to be."""


def one_line(words: object) -> str:
    """Words that a file may have put in, such as names, for use in a sentence: one line, not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(words)).split())
    return line if len(line) <= 200 else f"{line[:199]}…"
