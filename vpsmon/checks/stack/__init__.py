"""Checks of what runs on the machine: containers, PostgreSQL, Redis, n8n, WAHA. Read side by side, with deadlines."""
