"""How a network learns: the loop (a generator of events), its average, optimisers, rates, checkpoints."""
