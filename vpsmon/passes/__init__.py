"""One pass: look, judge, remember, decide what to report."""
