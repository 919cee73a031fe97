"""An HTML page with spectrograms and audio of denoised excerpts, in one file."""
