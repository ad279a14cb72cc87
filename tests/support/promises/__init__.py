"""docs/promises.md: what is promised, the tests that hold it, and how many attacks they try."""
