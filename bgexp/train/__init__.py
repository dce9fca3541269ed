"""Training of the class-agnostic Mask R-CNN: made-up scenes, the loop, the checkpoint."""
