"""How the rules are run: look, decide, look again, write down, act, verify, undo. No rule is known here by name."""
