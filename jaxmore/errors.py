"""The one exception that is shown to a user as a line instead of a traceback."""


class InputError(ValueError):
    """A mistake of the user's: a file, a flag or a word that cannot be used.

    The message is one clear line. The command line prints it and exits with code 2; whoever calls
    the library catches it as a `ValueError`.
    """
