"""The mathematics: noise levels, preconditioning, the loss, samplers, exact oracles. The network is handed in."""
