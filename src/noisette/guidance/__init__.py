"""Guides: each takes a denoiser and returns a denoiser, so they compose and samplers never hear of them."""
