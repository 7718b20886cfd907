"""What is wrong with a run or a data set: evidence is gathered, and each usual cause looks at it."""
