"""Who is who: which part a container plays, what it is bound to, which ones are essential."""
