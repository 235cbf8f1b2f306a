"""A run as one archive, and the check that it comes out again."""
