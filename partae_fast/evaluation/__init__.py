"""How good denoising is: scenes with a known song, other denoisers, scores; and what can be told without clean data."""
