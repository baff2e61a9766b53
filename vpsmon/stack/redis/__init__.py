"""Redis: finding it, its protocol, a session."""
