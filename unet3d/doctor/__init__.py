"""`unet3d doctor`: what is installed, what the data set holds, what a training needs."""
