"""The tests of vpsmon."""
