"""Where clean images come from: named data sets, their checks, their split and the order training sees."""
