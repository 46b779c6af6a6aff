"""What is drawn: curves, marks, contours.  Nothing here knows widgets or kernels."""
