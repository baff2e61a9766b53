"""From findings to messages: what is worth telling (incidents), its words (message), and getting it out (outbox)."""
