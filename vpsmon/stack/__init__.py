"""The services of the stack: where they are, how they are asked, and what they answer."""
