"""The exception that the command line shows as one line instead of a traceback."""


class InputError(ValueError):
    """A file, a flag or a word that cannot be used.

    The message is one clear line. The command line prints it and exits with code 2; callers of the
    library can catch it as a `ValueError`.
    """
