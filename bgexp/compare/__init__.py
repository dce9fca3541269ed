"""`bgexp compare`: earlier runs side by side on the same images."""
