"""The laboratory's studies: each trains or takes a model, measures, and says in a paragraph what was found."""
