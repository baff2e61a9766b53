"""What each part of a report says, one part a file. Pure: facts in, rows out."""
