"""The documentation site: what `make docs` adds to mkdocs."""
