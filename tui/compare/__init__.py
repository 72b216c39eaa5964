"""Two models, or one: the layer tree, the scales, the detail of one of them."""
