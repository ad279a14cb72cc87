"""`pairkit eval NAME`: one file per benchmark, and the flags and tables that they share in `common`."""
