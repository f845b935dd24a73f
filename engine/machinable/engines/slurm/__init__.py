"""Run trials in jobs of Slurm."""
