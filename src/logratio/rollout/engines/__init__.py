"""Engines that draw responses outside this process or by another library."""
