"""Stage 1: rule text in, rules out; a bad file never takes a good one down with it."""
