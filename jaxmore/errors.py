"""The exception that the command line shows as one line, and other exceptions in one line."""


class InputError(ValueError):
    """A file, a flag or a word that cannot be used.

    The message is one clear line. The command line prints it and exits with code 2; callers of the
    library can catch it as a `ValueError`.
    """


def describe(error: BaseException) -> str:
    """Return the type of an error and the first line of its text.

    Computing the text of a user's error runs the user's code, which may fail.

    >>> describe(KeyError("a"))
    "KeyError: 'a'"
    """
    try:
        first = str(error).strip().split("\n", 1)[0]
    except Exception:
        first = ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
