"""Networks that look at images, and how they are trained."""
