"""Networks: each is F(x, c_noise, label) -> the same shape as x."""
