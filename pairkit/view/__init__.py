"""Looking at candidate sets in a browser: what is opened, its index, filters, search, and one set."""
