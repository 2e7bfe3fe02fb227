"""The steps of DINAR (arXiv 2303.09375) around its networks: crop, sample, merge, inpaint, tune. Stateless;
images are channel first."""
