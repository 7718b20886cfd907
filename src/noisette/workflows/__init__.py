"""One file a verb: the only place that assembles the parts."""
