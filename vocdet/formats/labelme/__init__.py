"""labelme: one JSON file an image, with polygons."""
