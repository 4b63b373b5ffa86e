"""A module that cannot be imported, as one whose shared library is missing."""

raise OSError("libmodel.so: cannot open shared object file")
