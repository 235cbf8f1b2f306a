"""One model at the end of a sweep: trials chosen greedily, which predict together."""
