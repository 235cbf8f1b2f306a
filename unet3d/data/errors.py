"""Errors about the user's data, told in one line each."""


class DataError(ValueError):
    """Data that cannot be used; the message names the file, the reason and what to do."""
