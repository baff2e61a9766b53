"""The state directory: files that survive a crash at any point."""
