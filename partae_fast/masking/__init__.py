"""From two estimates to a gain: the rules that set a mask from noise-only audio."""
