"""What a trained network gets wrong: clean, corrupted and occluded images, calibration, attention."""
