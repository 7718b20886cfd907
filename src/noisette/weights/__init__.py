"""A model as one file: network, preconditioning, levels, classes, sampling defaults and card. Strict both ways."""
