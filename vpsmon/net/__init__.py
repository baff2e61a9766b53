"""Talking to other machines: connections, HTTP, mail."""
