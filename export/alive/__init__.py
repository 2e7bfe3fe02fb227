"""A photo comes alive: the person leaves the picture, and their avatar moves in their place (paper, figure 13)."""
