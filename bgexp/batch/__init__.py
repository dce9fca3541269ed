"""The production run over a whole folder."""
