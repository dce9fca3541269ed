"""Images to detections, or to soft masks: one file a family of detectors, one for the cache."""
