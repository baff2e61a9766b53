"""What is read for the metrics alone: no row of a pass, no alert."""
