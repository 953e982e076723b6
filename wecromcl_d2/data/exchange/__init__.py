"""Labels in the formats of other tools, and corrections back from them."""
