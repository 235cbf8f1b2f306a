"""A sweep for a paper: tables, figures, the methods paragraph and its references."""
