"""What the Triton implementations share: launching, sums of parts, passes over runs and maps."""
