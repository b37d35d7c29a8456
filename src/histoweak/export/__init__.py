"""Ways out of histoweak: pictures and files that other programs read."""
