"""Numbers that say how far samples can be trusted: pure functions of features, guesses and labels."""
