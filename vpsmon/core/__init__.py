"""What every room shares: rows of a pass, text, strict JSON, the text format of Prometheus. No input or output."""
