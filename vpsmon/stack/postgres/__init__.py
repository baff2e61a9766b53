"""PostgreSQL: finding it, a session, what is read."""
