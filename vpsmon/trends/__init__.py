"""What past passes measured, and where it leads."""
