"""What the tests of words, vocabulary and windows draw."""

from hypothesis import strategies as st

# Anything but NUL, line ends and the surrogates, which UTF-8 cannot encode.
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n")
words_of_any_kind = st.lists(st.text(letters, max_size=8), max_size=12)
