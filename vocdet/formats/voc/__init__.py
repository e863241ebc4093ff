"""PASCAL VOC and labelImg: one XML file an image, splits in ImageSets/Main."""
