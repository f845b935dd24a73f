"""What engines share whose workers are on other hosts."""
