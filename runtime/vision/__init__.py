"""What is in a picture of people: their points, masks, and the pose of the body that fits them."""
