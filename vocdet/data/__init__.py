"""What a dataset is: columns of images and objects, and what can be asked of them."""
