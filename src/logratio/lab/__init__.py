"""Every objective in every regime: what it converges to where the right answer is known exactly."""
