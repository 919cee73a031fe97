"""One step of AdaDelta, in place: both running means and the weight in one pass."""
