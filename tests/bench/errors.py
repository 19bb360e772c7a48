"""The error of a measurement."""


class BenchError(Exception):
    """A measurement could not be made; its text is the reason."""


class NotInstalled(BenchError):
    """A peer needs a program that is not installed; its text is how to install it."""
