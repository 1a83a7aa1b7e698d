"""One file a command: its flags and what it does. JAX is imported when a command runs."""
