"""What the tests run vpsmon against: a faithful Bot API server, real kernel events, a real Docker engine."""
